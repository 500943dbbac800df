"""Weights of metrics: where they come from, their licences and digests, and where they lie on this machine.

Facts and files on disk only; nothing here reaches the network. A file is looked for in the folder that STARVSR_MODELS
names, in the package that ships it, and in the cache of torch.hub.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import torch

from starvsr.errors import MissingWeightsError, OptionError, WeightsError
from starvsr.models.weights.cache import Places
from starvsr.models.weights.digests import digest

CONSENT_VARIABLE = "STARVSR_ACCEPT_NON_COMMERCIAL"
"""Environment variable that lists weights by name whose terms of non-commercial use the user has accepted."""


@dataclass(frozen=True)
class MetricFile:
    """A file of weights that a metric computes with.

    Args:
        name: What it is called here.
        file: Its name in STARVSR_MODELS and in the cache of torch.hub.
        sha256: Its SHA-256, or the beginning of it where no more is published; "" where none is: then whoever reads
            the file has to tell a wrong one by what it holds.
        licence: Under which terms its authors give it away.
        command: What gets it.
        package: Name of an installed package, as it is imported, and the place of the file in it.
        is_non_commercial: Whether the licence forbids commercial use: then the user has to accept it.
    """

    name: str
    file: str
    sha256: str
    licence: str
    command: str
    package: tuple[str, str] | None = None
    is_non_commercial: bool = False


def _download(url: str) -> str:
    """Return a command that puts a file into the cache of torch.hub."""
    return (
        "python -c \"import os, torch; folder = os.path.join(torch.hub.get_dir(), 'checkpoints'); "
        "os.makedirs(folder, exist_ok=True); "
        f"torch.hub.download_url_to_file('{url}', os.path.join(folder, '{url.rpartition('/')[2]}'))\""
    )


def _from_torchvision(name: str, file: str) -> MetricFile:
    url = f"https://download.pytorch.org/models/{file}"
    return MetricFile(
        name=name,
        file=file,
        sha256=file.rpartition("-")[2].removesuffix(".pth"),
        licence="BSD-3-Clause (torchvision), trained on ImageNet",
        command=f"python -c \"import torch; torch.hub.load_state_dict_from_url('{url}', check_hash=True)\"",
    )


def _from_lpips(net: str, sha256: str) -> MetricFile:
    return MetricFile(
        name=f"lpips-{net}-heads",
        file=f"lpips_v0.1_{net}.pth",
        sha256=sha256,
        licence="BSD-2-Clause",
        command="pip install --no-deps lpips==0.1.4",
        package=("lpips", f"weights/v0.1/{net}.pth"),
    )


METRIC_FILES: Mapping[str, MetricFile] = MappingProxyType(
    {
        one.name: one
        for one in (
            _from_torchvision("alexnet-imagenet", "alexnet-owt-7be5be79.pth"),
            _from_torchvision("vgg16-imagenet", "vgg16-397923af.pth"),
            _from_lpips("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
            _from_lpips("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
            MetricFile(
                name="dists-weights",
                file="dists_weights.pt",
                sha256="f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
                licence="MIT",
                command="pip install --no-deps DISTS-pytorch==0.1",
                package=("DISTS_pytorch", "weights.pt"),
            ),
            MetricFile(
                name="niqe-pristine",
                file="niqe_pris_params.npz",
                sha256="2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
                licence="Apache-2.0 (the copy that mmagic ships)",
                command="pip install --no-deps mmagic==1.2.0",
                package=("mmagic", "evaluation/metrics/niqe_pris_params.npz"),
            ),
            MetricFile(
                name="ilniqe-template",
                file="ILNIQE_templateModel.mat",
                sha256="",
                licence="PolyForm Noncommercial 1.0.0 of the copy that IQA-PyTorch publishes, its authors state none",
                command=_download(
                    "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/ILNIQE_templateModel.mat"
                ),
                is_non_commercial=True,
            ),
            MetricFile(
                name="dover",
                file="DOVER.pth",
                sha256="",
                licence="S-Lab License 1.0",
                command=_download("https://github.com/QualityAssessment/DOVER/releases/download/v0.1.0/DOVER.pth"),
                is_non_commercial=True,
            ),
        )
    }
)


def find_metric_file(name: str, needed_by: str, places: Places | None = None) -> Path:
    """Return where a file of weights lies, its digest checked.

    Args:
        name: The file's, out of `METRIC_FILES`.
        needed_by: What the message says is missing it ("the metric lpips_alex").
        places: Where to look beside packages and the cache of torch.hub; None takes STARVSR_MODELS.

    Raises:
        MissingWeightsError: It is not on this machine, or its terms are not accepted yet; the message says what to do.
        WeightsError: It is another file than the published one.
        OptionError: There is no such file.
    """
    if name not in METRIC_FILES:
        raise OptionError(f"unknown weights {name!r}: known are {', '.join(METRIC_FILES)}")
    wanted = METRIC_FILES[name]
    _check_consent(wanted, needed_by)
    candidates = _candidates(wanted, places or Places())
    path = next((one for one in candidates if one.is_file()), None)
    if path is None:
        raise MissingWeightsError(
            f"{needed_by} needs {wanted.file} ({wanted.name}, licence: {wanted.licence}), which is not on this "
            f"machine: {wanted.command}, or put the file into the folder that STARVSR_MODELS names"
        )
    found = _digest(path, path.stat().st_mtime_ns) if wanted.sha256 else ""
    if not found.startswith(wanted.sha256):
        raise WeightsError(
            f"{path} has SHA-256 {found}, but {wanted.name} is {wanted.sha256}: damaged or another release; "
            f"delete it, then {wanted.command}"
        )
    return path


def is_here(wanted: MetricFile, places: Places | None = None) -> bool:
    """Return whether a file lies on this machine; its digest is not looked at."""
    return any(one.is_file() for one in _candidates(wanted, places or Places()))


def _candidates(wanted: MetricFile, places: Places) -> list[Path]:
    own = places.own_folder()
    found = [own / wanted.file, own / wanted.name / wanted.file] if own is not None else []
    if wanted.package is not None:
        spec = find_spec(wanted.package[0])  # not imported: that would need what the package needs
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent / wanted.package[1])
    return [*found, Path(torch.hub.get_dir()) / "checkpoints" / wanted.file]


def _check_consent(wanted: MetricFile, needed_by: str) -> None:
    accepted = os.environ.get(CONSENT_VARIABLE, "").replace(",", " ").split()
    if wanted.is_non_commercial and wanted.name not in accepted:
        raise MissingWeightsError(
            f"{needed_by} needs {wanted.name}, whose licence ({wanted.licence}) forbids commercial use: read it, and "
            f"if you accept it set {CONSENT_VARIABLE}={wanted.name}"
        )


@lru_cache(maxsize=32)
def _digest(path: Path, changed_ns: int) -> str:
    return digest(path)
