"""How far the fast forms of metrics are from the metrics: the VGG distance in bfloat16, the warping error by fast flow.

    python -m benchmarks.quality.metric_shortcuts CLIPS [--size 256 192] [--frames 2] [--count 8] [--write PAGE.md]

CLIPS is a folder of videos, or videos. Each is cut around its centre after being made small. Results of it are what a
quarter of its size gives by bicubic interpolation, and the damages of benchmarks.quality.metric_ladder at three of
their strengths. Deviations are of means over the frames of a result, relative to the metric's own value; the order is
that of all pairs of results of one clip.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.metric_ladder import CROP_PX, DAMAGES, Clip, small
from benchmarks.quality.seams import read
from benchmarks.reliability.torture import write_table
from starvsr.metrics.evaluate import measure
from starvsr.metrics.flow_choice import FlowName
from starvsr.metrics.metric import mean
from starvsr.metrics.registry import available
from starvsr.video.suffixes import VIDEO_SUFFIXES

BEGIN, END = "<!-- shortcuts:begin -->", "<!-- shortcuts:end -->"
STRENGTHS = (0, 2, 5)
"""Which of the strengths of a damage: the least, a middle one, the most."""

Chosen = tuple[str, FlowName]
"""A metric's name and the optical flow that it rests on."""

SHORTCUTS: Mapping[str, tuple[Chosen, Chosen]] = {
    "vgg_distance_bf16": (("vgg_distance", "dis"), ("vgg_distance_bf16", "dis")),
    "warping_error_x1e3, dis-fast": (("warping_error_x1e3", "dis"), ("warping_error_x1e3", "dis-fast")),
}
"""Name of the fast form: the metric, and its fast form."""


@dataclass
class Deviation:
    """Values of a metric and of its fast form over results, clip by clip."""

    pairs: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)
    """Clip to (kind of result, value, value of the fast form)."""

    def relative(self, kind: str) -> list[float]:
        """Return by how much of the value the fast form is off, for each result of a kind."""
        found = [one for of_clip in self.pairs.values() for one in of_clip]
        return [abs(fast - value) / value for name, value, fast in found if name == kind and value > 0]

    def same_order(self) -> float:
        """Return the share of pairs of results of one clip that both put into the same order."""
        kept = [
            (a[1] - b[1]) * (a[2] - b[2]) > 0
            for of_clip in self.pairs.values()
            for a, b in combinations(of_clip, 2)
            if a[1] != b[1]
        ]
        return float(np.mean(kept)) if kept else float("nan")


def results(clip: Clip, seed: int = 0) -> Iterator[tuple[str, Clip]]:
    """Yield (kind, result) of a clip."""
    yield "bicubic", np.stack([bicubic(frame) for frame in clip])
    for name, (damage, strengths) in DAMAGES.items():
        for index in STRENGTHS:
            yield name, damage(clip, strengths[index], np.random.default_rng(seed))


def compare(
    clips: Mapping[str, Clip], names: Sequence[str], report: Callable[[str], None] = print
) -> dict[str, Deviation]:
    """Measure all results of all clips by metrics and by their fast forms."""
    found = {name: Deviation() for name in names}
    for place, clip in clips.items():
        made = list(results(clip))
        for name in names:
            sides = [[_value(result, clip, chosen) for _, result in made] for chosen in SHORTCUTS[name]]
            kinds = [kind for kind, _ in made]
            found[name].pairs[place] = list(zip(kinds, *sides, strict=True))
        report(f"{place}: done")
    return found


def as_table(found: Mapping[str, Deviation]) -> str:
    """Write median and largest deviations as a table of Markdown."""
    kinds = ["bicubic", *DAMAGES]
    heads = ["fast form", *kinds, "pairs in the same order"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for name, deviation in found.items():
        cells = [_cell(deviation.relative(kind)) for kind in kinds]
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * deviation.same_order():.1f} % |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos, or folders of them")
    parser.add_argument("--forms", nargs="*", default=list(SHORTCUTS), choices=list(SHORTCUTS))
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=2, help="of each clip (default: 2)")
    parser.add_argument("--count", type=int, help="clips at most")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    missing = available([metric for name in options.forms for metric, _ in SHORTCUTS[name][1:]]).missing
    for name, why in missing.items():
        print(f"{name} is missing: {why}", file=sys.stderr)
    names = [name for name in options.forms if SHORTCUTS[name][1][0] not in missing]
    files = [one for path in options.clips for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [one for one in files if one.suffix in VIDEO_SUFFIXES][: options.count]
    clips = {one.stem: small(read(one, options.frames), *options.size) for one in files}
    table = as_table(compare(clips, names, lambda line: print(line, file=sys.stderr, flush=True)))
    print(table)
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0


def _value(result: Clip, clip: Clip, chosen: Chosen) -> float:
    metric, flow = chosen
    return mean(measure(result, clip, metrics=[metric], crop_px=CROP_PX, flow=flow)[metric])


def bicubic(frame: Clip) -> Clip:
    """Return what a quarter of a frame's size gives by bicubic interpolation."""
    height, width = frame.shape[:2]
    little = Image.fromarray(frame).resize((width // 4, height // 4), Image.Resampling.BICUBIC)
    return np.asarray(little.resize((width, height), Image.Resampling.BICUBIC))


def _cell(deviations: Sequence[float]) -> str:
    if not deviations:
        return "-"
    return f"{100 * np.median(deviations):.2f} %, at most {100 * max(deviations):.2f} %"


if __name__ == "__main__":
    sys.exit(main())
