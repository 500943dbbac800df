"""MUSIQ and CLIP-IQA through pyiqa, a package that the user installs and whose terms the user accepts.

pyiqa is under the PolyForm Noncommercial licence, so nothing here depends on it; it brings its weights (and downloads
them when it first needs them). Results of other releases of it differ: the protocol names the one that is installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch

from starvsr.errors import MissingWeightsError, WeightsError
from starvsr.metrics.metric import FrameSet, Metric
from starvsr.models.weights.metric_files import CONSENT_VARIABLE

PACKAGE = "pyiqa"


def _require(name: str) -> None:
    if find_spec(PACKAGE) is None:
        raise MissingWeightsError(
            f"the metric {name} is computed by pyiqa, which is not installed: pip install pyiqa (licence: PolyForm "
            f"Noncommercial 1.0.0, not for commercial use)"
        )
    if PACKAGE not in os.environ.get(CONSENT_VARIABLE, "").replace(",", " ").split():
        raise MissingWeightsError(
            f"the metric {name} is computed by pyiqa, whose licence (PolyForm Noncommercial 1.0.0) forbids commercial "
            f"use: read it, and if you accept it set {CONSENT_VARIABLE}={PACKAGE}"
        )


@lru_cache(maxsize=8)
def _network(kind: str, device: str) -> Any:
    try:
        return import_module(PACKAGE).create_metric(kind, device=torch.device(device))
    except Exception as error:  # a download that fails, a package of its own that is missing
        raise WeightsError(
            f"pyiqa cannot make its metric {kind!r} ({str(error).strip().partition(chr(10))[0][:200]}): it downloads "
            f"weights when it first needs them; python -c \"import pyiqa; pyiqa.create_metric('{kind}')\" shows why"
        ) from error


def _installed() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "not installed"


def _metric(name: str, kind: str, *, higher_is_better: bool, words: str) -> Metric:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        _require(name)
        network = _network(kind, device)
        for frame in frames:
            picture = torch.from_numpy(frame.hq.copy()).to(device).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                value = float(network(picture))
            yield value

    return Metric(
        name=name,
        unit="",
        higher_is_better=higher_is_better,
        needs=frozenset(),
        protocol=f"{words}, pyiqa {_installed()} {kind!r} with its defaults",
        compute=compute,
        weights=f"those that pyiqa downloads for {kind!r}",
        requires=lambda: _require(name),
    )


MUSIQ = _metric("musiq", "musiq", higher_is_better=True, words="KonIQ, 0 to 100")
CLIPIQA = _metric("clipiqa", "clipiqa", higher_is_better=True, words="CLIP RN50, five pairs of prompts")
