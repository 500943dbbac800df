"""Values that papers publish, to be shown beside ours: never comparable without the same data and protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from starvsr.errors import OptionError
from starvsr.evaluation.benchmarks.published_values import SOURCES, Source

MEASURED_AS = {
    "PSNR": ("psnr_rgb_db", "psnr_y_db", "psnr_yfull_db"),
    "SSIM": ("ssim_rgb", "ssim_y"),
    "LPIPS": ("lpips_alex", "lpips_vgg"),
    "DISTS": ("dists",),
    "DOVER": ("dover",),
    "ILNIQE": ("ilniqe",),
    "NIQE": ("niqe",),
    "MUSIQ": ("musiq",),
    "CLIP-IQA": ("clipiqa",),
    "E*warp": ("warping_error_x1e3",),
    "tLPIPS": ("tlpips_x1e3",),
    "tOF": ("tof_x10",),
}
"""Our metrics that a published name may mean, the likeliest first."""


@dataclass(frozen=True)
class PublishedColumn:
    """What a source says of one model on one data set.

    Attributes:
        method: The model.
        source: Who measured it.
        values: Published name of a metric to its value.
    """

    method: str
    source: Source
    values: dict[str, float]


def published_columns(data_set: str, which: str = "own") -> list[PublishedColumn]:
    """Return published values for a data set.

    Args:
        data_set: name of the benchmark.
        which: "own" for what authors say of their own models, "all", "none", or names of sources with commas.

    Raises:
        OptionError: there is no such source.
    """
    chosen = _sources(which)
    return [
        PublishedColumn(
            method, source, {n: v for n, v in zip(source.metrics, values, strict=True) if not math.isnan(v)}
        )
        for source in chosen
        for name, method, values in source.rows
        if name == data_set
    ]


def row_of(metric: str, measured: Sequence[str]) -> str | None:
    """Return our metric beside which a published one is shown; None where none of its kind was measured."""
    return next((name for name in MEASURED_AS.get(metric, ()) if name in measured), None)


def _sources(which: str) -> list[Source]:
    if which in ("none", ""):
        return []
    if which in ("all", "own"):
        return [source for source in SOURCES if which == "all" or source.is_own]
    names = [word.strip() for word in which.split(",")]
    known = {source.name: source for source in SOURCES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise OptionError(f"--published: unknown {', '.join(unknown)}: own, all, none, or {', '.join(known)}")
    return [known[name] for name in names]
