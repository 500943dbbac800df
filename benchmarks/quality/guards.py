r"""What a result must not do, on made charts with a known truth: one line for each guard, and pass or fail.

    python -m benchmarks.quality.guards --methods star-small causal-sr [--weights FILE] [--details 0 0.25 0.5 0.75 1]
        [--size 512x384] [--out FILE]

Charts are made, not stored (benchmarks/quality/guard_charts.py); each goes in as a clip of a still picture, by the way
that frames of a user go, `starvsr.stream`.

- **drawn, text, defocus**: at no setting of `--detail` may error, halo or ghost lines rise above those of the faithful
  end, `--detail 0`, by more than 2 % and a tenth of a level, nor those of that end above bicubic's. Methods without
  `--detail` are compared with bicubic.
- **ghost**: on the edge chart, nothing beside an edge, 8 to 40 px away, that bicubic does not have, beyond a level.
- **gray**: channels apart by at most 0.3 levels on average, of a gray input.
- **still**: at no frame, first and last included, a change of more than 0.05 levels.
- **weave**: power at 1/4 cycle per pixel at most 1.2 times its neighbourhood's, on grain.

The status is 1 if any guard fails. Error is the root mean square of luma against the truth, halo that of what lies
outside the truth's range within 12 px, both in levels of 255.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import starvsr
from benchmarks.quality import guard_charts
from benchmarks.quality.guard_charts import SCALE, ByteArray, Chart, FloatArray
from benchmarks.quality.methods import AnimeVideo, bicubic
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import OptionError, StarVsrError
from starvsr.metrics.still_flicker import still_flicker
from starvsr.metrics.texture import weave
from starvsr.quantities import parse_box

NUM_FRAMES = 8
CROP_PX = 8
MAY_RISE, MAY_RISE_LEVELS = 1.02, 0.1
MOST_GHOST, MOST_TINT, MOST_FLICKER, MOST_WEAVE = 1.0, 0.3, 0.05, 1.2
_HALO_REACH = 12
_HALO_SPAN = 2 * _HALO_REACH + 1
_GHOST_PX = (8, 40)
_LEAST_LINE = 16
"""Pixels of a line beside an edge, at least."""
_LUMA = np.array([0.299, 0.587, 0.114])
Make = Callable[[ByteArray, float | None], ByteArray]
"""Enlarges a clip [T, h, w, 3] at a setting of ``--detail``; None is the method's own."""


@dataclass(frozen=True)
class Finding:
    """One guard of one method at one setting."""

    method: str
    guard: str
    detail: float | None
    figure: float
    limit: float

    @property
    def passes(self) -> bool:
        """Whether the figure keeps the limit; what is no number does not."""
        return self.figure <= self.limit


def measures(chart: Chart, hq: ByteArray) -> dict[str, float]:
    """Measure a result [H, W, 3] of a chart: error and halo, and ghost lines where edges are known."""
    made, truth = hq @ _LUMA, chart.truth @ _LUMA
    error = np.sqrt(np.mean(np.square(made - truth)[_inner(chart)]))
    low, high = _range_around(truth)
    outside = np.maximum(np.maximum(made - high, low - made), 0)
    found = {"error": float(error), "halo": float(np.sqrt(np.mean(np.square(outside)[_inner(chart)])))}
    if chart.distance is not None:
        plain = bicubic(chart.lq[None])[0] @ _LUMA
        found["ghost"] = float(np.max(_ghosts(chart, made) - _ghosts(chart, plain)))
    return found


def _ghosts(chart: Chart, made: FloatArray) -> FloatArray:
    """Return the mean deviation, as a size, at each distance from each edge, dark sides first: [edges, distances]."""
    assert chart.distance is not None and chart.patch is not None
    near, far = _GHOST_PX
    off = (made - chart.truth @ _LUMA)[chart.looked_at]
    away, patch = chart.distance[chart.looked_at], chart.patch[chart.looked_at]
    found = []
    for side in (-1, 1):
        bins = np.floor(side * away).astype(int) - near
        inside = (bins >= 0) & (bins < far - near)
        places = patch[inside] * (far - near) + bins[inside]
        most = (patch.max() + 1) * (far - near)
        counts = np.bincount(places, minlength=most)
        sums = np.bincount(places, off[inside], minlength=most)
        found.append(np.where(counts >= _LEAST_LINE, np.abs(sums) / np.maximum(counts, 1), 0).reshape(-1, far - near))
    return np.concatenate(found)


def _range_around(plane: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the least and the largest value of [H, W] within `_HALO_REACH` of each pixel."""
    largest = []
    for sign in (-1, 1):
        found = sign * torch.tensor(plane)[None, None]
        for size, padding in (((_HALO_SPAN, 1), (_HALO_REACH, 0)), ((1, _HALO_SPAN), (0, _HALO_REACH))):
            found = torch.nn.functional.max_pool2d(found, size, stride=1, padding=padding)
        largest.append(found[0, 0].numpy())
    return -largest[0], largest[1]


def _inner(chart: Chart) -> np.ndarray:
    inner = np.zeros_like(chart.looked_at)
    inner[CROP_PX:-CROP_PX, CROP_PX:-CROP_PX] = True
    return inner & chart.looked_at


def examine(name: str, make: Make, details: Sequence[float], width: int, height: int) -> Iterator[Finding]:
    """Yield the findings for one method.

    Args:
        name: Of the method.
        make: Enlarges clips.
        details: Settings of ``--detail``; none for methods that have no such option.
        width: Of the results.
        height: Of the results.
    """
    settings: list[float | None] = list(details)
    for draw in (guard_charts.drawn, guard_charts.text, guard_charts.defocused):
        chart = draw(width, height)
        plain = measures(chart, bicubic(chart.lq[None])[0])
        faithful = measures(chart, make(_clip(chart), 0.0)[-1]) if details else plain
        for detail in settings or [None]:
            base = plain if detail == 0 else faithful
            for measure, figure in measures(chart, make(_clip(chart), detail)[-1]).items():
                limit = MAY_RISE * base[measure] + MAY_RISE_LEVELS
                yield Finding(name, f"{chart.name}: {measure}", detail, figure, limit)
    edge_chart = guard_charts.edges(width, height)
    gray, grain = guard_charts.gray(width, height), guard_charts.grain(width, height)
    for detail in [None, *settings]:
        ghost = measures(edge_chart, make(_clip(edge_chart), detail)[-1])["ghost"]
        yield Finding(name, "edges: ghost", detail, ghost, MOST_GHOST)
        made = make(_clip(gray), detail)[-1].astype(int)
        yield Finding(name, "gray: tint", detail, float((made.max(2) - made.min(2)).mean()), MOST_TINT)
        lq = _clip(grain)
        clip = make(lq, detail)
        pairs = zip(clip[1:], clip[:-1], strict=True)
        flicker = max(still_flicker(now, before, lq[0], lq[0]) for now, before in pairs)
        yield Finding(name, "still: flicker", detail, flicker, MOST_FLICKER)
        yield Finding(name, "grain: weave", detail, float(weave(clip[-1:], crop_px=CROP_PX)[0]), MOST_WEAVE)


def _clip(chart: Chart) -> ByteArray:
    return np.repeat(chart.lq[None], NUM_FRAMES, 0)


def table(findings: Sequence[Finding]) -> str:
    """Return a Markdown table of findings."""
    lines = ["| method | guard | detail | figure | limit | |", "| --- | --- | --- | --- | --- | --- |"]
    for one in findings:
        setting = "default" if one.detail is None else f"{one.detail:g}"
        verdict = "pass" if one.passes else "**fail**"
        lines.append(f"| {one.method} | {one.guard} | {setting} | {one.figure:.3f} | {one.limit:.3f} | {verdict} |")
    return "\n".join(lines)


def _method(name: str, options: argparse.Namespace) -> tuple[Make, bool]:
    """Return what enlarges clips, and whether it has ``--detail``."""
    if name == "bicubic":
        return lambda clip, _: bicubic(clip), False
    if name == "animevideov3":
        if options.ncnn_model is None:
            raise OptionError("animevideov3 needs --ncnn-model: a folder with its .param and .bin")
        network = AnimeVideo(options.ncnn_model, options.threads)
        return lambda clip, _: network(clip), False
    if name not in ("star-small", "causal-sr"):
        raise OptionError(f"unknown method {name!r}: star-small, causal-sr, bicubic or animevideov3")
    if name == "causal-sr" and options.weights is None:
        raise OptionError("causal-sr needs --weights: a file of `starvsr export`")
    own = options.weights if name == "causal-sr" or "causal-sr" not in options.methods else None
    return _Streamed(name, own), True


class _Streamed:
    """One of our models, as a user's frames go through it; loaded anew where its weights do ``--detail`` themselves."""

    def __init__(self, name: str, weights: Path | None) -> None:
        self._name, self._weights = name, weights
        self._loaded: Upscaler | None = None

    def __call__(self, lq: ByteArray, detail: float | None) -> ByteArray:
        values: dict[str, Any] = {} if detail is None else {"detail": detail}
        words: dict[str, Any] = {} if self._weights is None else {"weights": self._weights}
        if self._loaded is None:
            self._loaded = starvsr.load_upscaler(self._name, **words)
        if "detail" in self._loaded.traits_for({}).loads and values:
            chosen = starvsr.load_upscaler(self._name, **words, **values)
            return _stacked(starvsr.stream(lq, upscaler=chosen, scale=SCALE))
        return _stacked(starvsr.stream(lq, upscaler=self._loaded, scale=SCALE, **values))


def _stacked(frames: Iterator[Any]) -> ByteArray:
    return np.stack(list(frames))


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine the methods, print the table, and return the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    width, height = (side // (2 * SCALE) * 2 * SCALE for side in options.size)
    findings: list[Finding] = []
    for name in options.methods:
        make, has_detail = _method(name, options)
        findings += examine(name, make, options.details if has_detail else [], width, height)
    print(table(findings))
    failed = [one for one in findings if not one.passes]
    print(f"{len(findings) - len(failed)} of {len(findings)} guards are kept")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        told = [{**asdict(one), "passes": one.passes} for one in findings]
        options.out.write_text(json.dumps({"size": [width, height], "findings": told}, indent=1) + "\n")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["star-small"])
    parser.add_argument("--weights", type=Path, help="weights of causal-sr, or, without it, of star-small")
    parser.add_argument("--details", nargs="*", type=float, default=[0, 0.25, 0.5, 0.75, 1])
    parser.add_argument("--ncnn-model", type=Path, help="folder with the files of animevideov3")
    parser.add_argument("--size", type=parse_box, default=(512, 384), metavar="WxH", help="of the results")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file of the findings")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StarVsrError as error:
        sys.exit(f"error: {error}")
