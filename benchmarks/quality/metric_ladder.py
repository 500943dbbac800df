"""Does a metric get worse whenever a clip does? Degradations of rising strength, and the share of steps it follows.

    python -m benchmarks.quality.metric_ladder CLIPS [--metrics vgg_distance ssim_y] [--size 256 192] [--frames 4] \
        [--seed 0] [--write PAGE.md]

CLIPS is a folder of videos, or videos. Each is cut around its centre after being made small, and damaged in five ways
(blur, noise, blocks of JPEG, ringing, flicker) at six strengths. A step counts as followed when the metric's mean over
frames is strictly worse than at the strength before; the first step is from the clip itself.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quality.seams import read
from benchmarks.reliability.torture import write_table
from starvsr.metrics.evaluate import measure
from starvsr.metrics.metric import Metric, mean
from starvsr.metrics.registry import available
from starvsr.video.suffixes import VIDEO_SUFFIXES

BEGIN, END = "<!-- ladder:begin -->", "<!-- ladder:end -->"
METRICS = ("vgg_distance", "lpips_alex", "lpips_vgg", "dists", "psnr_y_db", "ssim_y", "ms_ssim_y", "vmaf_neg", "niqe")
TEMPORAL = ("warping_error_x1e3", "tof_x10", "tlpips_x1e3")
CROP_PX = 8

Clip = NDArray[np.uint8]


def blur(clip: Clip, sigma: float, rng: np.random.Generator) -> Clip:
    """Blur by a Gaussian."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip])


def noise(clip: Clip, sigma: float, rng: np.random.Generator) -> Clip:
    """Add Gaussian noise, anew in each frame."""
    return _bytes(clip + rng.normal(0, sigma, clip.shape))


def blocks(clip: Clip, quality: float, rng: np.random.Generator) -> Clip:
    """Compress each frame as JPEG."""
    return np.stack([_jpeg(frame, int(quality)) for frame in clip])


def ringing(clip: Clip, share: float, rng: np.random.Generator) -> Clip:
    """Cut off the frequencies above a share of the highest one, sharply: edges ring."""
    height, width = clip.shape[1:3]
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    passed = (np.hypot(rows, columns) <= 0.5 * share)[None, :, :, None]
    spectrum = np.fft.rfft2(clip.astype(np.float64), axes=(1, 2))
    return _bytes(np.fft.irfft2(spectrum * passed, s=(height, width), axes=(1, 2)))


def flicker(clip: Clip, levels: float, rng: np.random.Generator) -> Clip:
    """Make every other frame brighter, the others darker."""
    signs = np.where(np.arange(len(clip)) % 2, -1, 1)[:, None, None, None]
    return _bytes(clip + signs * levels)


DAMAGES: Mapping[str, tuple[Callable[[Clip, float, np.random.Generator], Clip], tuple[float, ...]]] = {
    "blur": (blur, (0.5, 0.8, 1.2, 1.8, 2.6, 3.6)),
    "noise": (noise, (2, 4, 8, 14, 22, 32)),
    "blocks": (blocks, (90, 70, 50, 30, 18, 8)),
    "ringing": (ringing, (0.8, 0.6, 0.45, 0.33, 0.24, 0.17)),
    "flicker": (flicker, (1, 2, 4, 7, 11, 16)),
}


def steps(clip: Clip, metrics: Sequence[Metric], damage: str, seed: int = 0) -> dict[str, list[bool]]:
    """Say for each metric which of the six steps it follows."""
    damaged, strengths = DAMAGES[damage]
    made = [clip, *(damaged(clip, strength, np.random.default_rng(seed)) for strength in strengths)]
    values = [measure(one, clip, metrics=metrics, crop_px=CROP_PX) for one in made]
    found = {}
    for metric in metrics:
        losses = [metric.loss(mean(value[metric.name])) for value in values]
        found[metric.name] = [bool(b > a) for a, b in pairwise(losses)]
    return found


def ladder(
    clips: Mapping[str, Clip], metrics: Sequence[Metric], seed: int = 0, report: Callable[[str], None] = print
) -> dict[str, dict[str, list[bool]]]:
    """Return for each metric and damage the steps of all clips."""
    found: dict[str, dict[str, list[bool]]] = {metric.name: defaultdict(list) for metric in metrics}
    for name, clip in clips.items():
        for damage in DAMAGES:
            for metric, followed in steps(clip, metrics, damage, seed).items():
                found[metric][damage] += followed
        report(f"{name}: done")
    return found


def as_table(found: Mapping[str, Mapping[str, Sequence[bool]]]) -> str:
    """Write the shares as a table of Markdown."""
    heads = ["metric", *DAMAGES, "all steps"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for metric, by_damage in found.items():
        every = [one for followed in by_damage.values() for one in followed]
        shares = [*(by_damage[damage] for damage in DAMAGES), every]
        lines.append(f"| {metric} | {' | '.join(f'{100 * np.mean(share):.0f} %' for share in shares)} |")
    return "\n".join(lines)


def small(frames: Sequence[Clip], width: int, height: int) -> Clip:
    """Make frames small enough that the wanted size just fits, and cut it from their centre."""
    made = []
    for frame in frames:
        factor = max(width / frame.shape[1], height / frame.shape[0])
        size = (max(width, round(frame.shape[1] * factor)), max(height, round(frame.shape[0] * factor)))
        shrunk = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
        top, left = (size[1] - height) // 2, (size[0] - width) // 2
        made.append(shrunk[top : top + height, left : left + width])
    return np.stack(made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when the VGG distance follows less than 95 % of the steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos, or folders of them")
    parser.add_argument("--metrics", nargs="*", default=[*METRICS, *TEMPORAL])
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=4, help="of each clip (default: 4)")
    parser.add_argument("--count", type=int, help="clips at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    chosen = available(options.metrics)
    for name, why in chosen.missing.items():
        print(f"{name} is missing: {why}", file=sys.stderr)
    files = [one for path in options.clips for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [one for one in files if one.suffix in VIDEO_SUFFIXES][: options.count]
    clips = {one.stem: small(read(one, options.frames), *options.size) for one in files}
    found = ladder(clips, chosen.usable, options.seed, lambda line: print(line, file=sys.stderr, flush=True))
    table = as_table(found)
    print(table)
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    vgg = [one for followed in found.get("vgg_distance", {}).values() for one in followed]
    return 1 if vgg and np.mean(vgg) < 0.95 else 0


def _jpeg(frame: Clip, quality: int) -> Clip:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _bytes(values: NDArray[np.floating]) -> Clip:
    return np.asarray(values.round().clip(0, 255), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
