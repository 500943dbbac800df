"""How near the VGG distance of a few windows is to that of whole frames: bias, scatter, and the order of results.

    python -m benchmarks.quality.vgg_windows CLIPS [--size 480 272] [--count 8] [--frames 1] [--write PAGE.md]

CLIPS is a folder of videos, or videos. Each is cut around its centre after being made small. Results of it are what a
quarter of its size gives by bicubic interpolation, noise, and blocks of JPEG, at a middle strength of
benchmarks.quality.metric_ladder. Every cell of a frame is measured as `vgg_distance_sampled` measures those that it
draws, and the frame as a whole as `vgg_distance` does. The bias is that of the mean over all cells. Scatter and order
are those of clips in which each of 25 (or 100) frames is one of the measured ones, in as many draws of cells.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.quality.metric_ladder import DAMAGES, Clip, small
from benchmarks.quality.metric_shortcuts import bicubic
from benchmarks.quality.seams import read
from benchmarks.reliability.torture import write_table
from starvsr.metrics.vgg_distance import shipped, vgg_distance
from starvsr.metrics.vgg_sampled import CELL_PX, MARGIN_PX, READ_PX, WINDOWS
from starvsr.models.vgg16_distance import layers_of
from starvsr.models.vgg16_windows import cell_distances, cells_of
from starvsr.video.suffixes import VIDEO_SUFFIXES

BEGIN, END = "<!-- windows:begin -->", "<!-- windows:end -->"
RESULTS = {"bicubic": None, "noise": 2, "blocks": 2}
"""Kind of result: which of the strengths of the damage; None for an enlarged clip."""

LENGTHS = (1, 25, 100)
DRAWS = 2000


@dataclass
class Measured:
    """One result of a clip.

    Attributes:
        whole: the VGG distance of each frame.
        cells: that of each cell of each frame, [frames, cells].
        share: of a frame's positions that are in each cell, [cells].
    """

    whole: npt.NDArray[np.float64]
    cells: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]

    def bias(self) -> float:
        """Return by how much of the distance the mean over all cells is off."""
        return float((self.cells @ self.share).mean() / self.whole.mean() - 1)

    def drawn(self, length: int, seed: int = 0) -> npt.NDArray[np.float64]:
        """Return what clips of so many frames come to, in many draws of cells."""
        rng = np.random.default_rng(seed)  # the same cells for all results of a clip
        frames, cells = self.cells.shape
        taken = rng.random((DRAWS, length, cells)).argsort(2)[..., :WINDOWS]
        of = np.arange(length)[None, :, None] % frames
        weights = self.share[taken]
        return ((self.cells[of, taken] * weights).sum(2) / weights.sum(2)).mean(1)


def results(clip: Clip) -> Iterator[tuple[str, Clip]]:
    """Yield (kind, result) of a clip."""
    for kind, strength in RESULTS.items():
        if strength is None:
            yield kind, np.stack([bicubic(frame) for frame in clip])
        else:
            damage, strengths = DAMAGES[kind]
            yield kind, damage(clip, strengths[strength], np.random.default_rng(0))


def measured(result: Clip, clip: Clip) -> Measured:
    """Measure a result by all cells and as a whole."""
    network = shipped()
    layers = layers_of(network, torch.float32)
    cells = cells_of(clip.shape[1], clip.shape[2], CELL_PX)
    found = []
    for pair in zip(result, clip, strict=True):
        hq, gt = (torch.from_numpy(np.array(frame)).permute(2, 0, 1) for frame in pair)
        sums, counts = cell_distances(layers, network.mean, (hq, gt), cells, margin_px=MARGIN_PX, read_px=READ_PX)
        found.append((sums.numpy() / counts.numpy()).sum(1))
    areas = np.array([(cell.bottom - cell.top) * (cell.right - cell.left) for cell in cells], np.float64)
    return Measured(vgg_distance(clip, result, network=network), np.array(found), areas / areas.sum())


def as_table(found: Mapping[str, Mapping[str, Measured]]) -> str:
    """Write bias, scatter and order as a table of Markdown: a row for each clip, one for all."""
    heads = ["clip", "bias", *(f"scatter, {n} frame{'s' * (n > 1)}" for n in LENGTHS)]
    heads += [f"same order, {n} frame{'s' * (n > 1)}" for n in LENGTHS]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    every: list[tuple[list[float], list[list[float]], list[list[float]]]] = []
    for name, by_kind in found.items():
        biases = [one.bias() for one in by_kind.values()]
        scatters, orders = [], []
        for length in LENGTHS:
            drawn = {kind: one.drawn(length) for kind, one in by_kind.items()}
            scatters.append([float(values.std() / values.mean()) for values in drawn.values()])
            signs = [
                ((drawn[a] - drawn[b]) * (by_kind[a].whole.mean() - by_kind[b].whole.mean()) > 0).mean()
                for a, b in combinations(by_kind, 2)
            ]
            orders.append([float(one) for one in signs])
        every.append((biases, scatters, orders))
        lines.append(_row(name, biases, scatters, orders))
    joined = [[value for one in every for value in one[0]]]
    joined_scatters = [[value for one in every for value in one[1][place]] for place in range(len(LENGTHS))]
    joined_orders = [[value for one in every for value in one[2][place]] for place in range(len(LENGTHS))]
    return "\n".join([*lines, _row("all", joined[0], joined_scatters, joined_orders)])


def _row(
    name: str, biases: Sequence[float], scatters: Sequence[Sequence[float]], orders: Sequence[Sequence[float]]
) -> str:
    cells = [name, f"{100 * min(biases):+.2f} to {100 * max(biases):+.2f} %"]
    cells += [f"{100 * np.median(one):.1f} %, at most {100 * max(one):.1f} %" for one in scatters]
    cells += [f"{100 * np.mean(one):.1f} %" for one in orders]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos, or folders of them")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 272), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=1, help="of each clip (default: 1)")
    parser.add_argument("--count", type=int, help="clips at most")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    files = [one for path in options.clips for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [one for one in files if one.suffix in VIDEO_SUFFIXES][: options.count]
    found = {}
    for file in files:
        clip = small(read(file, options.frames), *options.size)
        found[file.stem] = {kind: measured(result, clip) for kind, result in results(clip)}
        print(as_table({file.stem: found[file.stem]}).splitlines()[2], file=sys.stderr, flush=True)
    table = as_table(found)
    print(table)
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
