"""Compare star-small with bicubic and realesr-animevideov3-x4 on clips with ground truth.

    python -m benchmarks.quality.quality_small --hq DIR --ncnn-model DIR [--weights FILE] [--out results/quality]
            [--full]
    python -m benchmarks.quality.quality_small --hq DIR --weights FILE --steps 1 4    (weights that can be sampled)

Sharp clips in DIR are cut, degraded with fixed seeds (presets light and heavy) and stored losslessly under OUT/pairs;
each method enlarges them; PSNR-Y, SSIM-Y, VMAF-NEG and warping error are averaged over frames, then clips.
8 px are cut from each border first: there every method guesses, and so did the blur of the degradation.
Writes scores.json, scores.csv (every frame), scores.md (with the worst frames) and a contact sheet for each preset.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from benchmarks.quality.contact_sheets import Row, detailed_window, enlarge_nearest, save_sheet, window
from benchmarks.quality.methods import ANIME_VIDEO, SCALE, AnimeVideo, ByteArray, StarSmall, bicubic
from starvsr.data.clip_file import ClipFile
from starvsr.data.paired import find_pairs, make_eval_pairs
from starvsr.errors import StarVsrError
from starvsr.metrics.evaluate import ClipPair, Method, by_clip, by_frame, evaluate
from starvsr.metrics.metric import FrameSet
from starvsr.metrics.registry import DEFAULT_METRICS, METRICS
from starvsr.metrics.scores import Score, ScoreTable

QUICK_SIZE, QUICK_FRAMES = (640, 360), 10
FULL_SIZE, FULL_FRAMES = (960, 540), 24
CROP_WIDTH, CROP_HEIGHT = 240, 180


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison and print the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    folder = prepare_pairs(options)
    sheets: dict[str, dict[str, Row]] = {}
    pairs = list(read_pairs(folder, options.presets, options.clips))
    middles = {(pair.group, pair.name): sum(1 for _ in pair.lq) // 2 for pair in pairs}

    def on_frame(pair: ClipPair, method: str, index: int, frame: FrameSet) -> None:
        if index == middles[pair.group, pair.name]:
            _add_crop(sheets, pair, method, index, frame)

    def on_result(pair: ClipPair, method: str, score: Score) -> None:
        print(f"{pair.group:7s} {pair.name:30s} {method:12s} " + " ".join(f"{v:9.4f}" for v in score.values.values()))

    table = evaluate(
        pairs,
        choose_methods(options),
        metrics=options.metrics,
        crop_px=options.crop,
        on_frame=on_frame,
        on_result=on_result,
    )
    table.protocol |= _circumstances(options, folder)
    table.save(options.out, "scores")
    for group, rows in sheets.items():
        save_sheet(list(rows.values()), options.out / f"crops_{group}.png")
    print("\n" + table.to_markdown())
    print(_differences(table))
    print(f"Tables and contact sheets: {options.out}")


def prepare_pairs(options: argparse.Namespace) -> Path:
    """Make the pairs under OUT/pairs_<size>, or take those of an earlier run, and return their folder."""
    size, frames = (FULL_SIZE, FULL_FRAMES) if options.full else (QUICK_SIZE, QUICK_FRAMES)
    frames = options.frames or frames
    name = f"pairs_{size[0]}x{size[1]}_{frames}_{'_'.join(options.presets)}_{options.seed}"
    folder = Path(options.pairs or options.out / name)
    if not (folder / "pairs.json").exists():
        make_eval_pairs(
            options.hq,
            folder,
            options.presets,
            seed=options.seed,
            max_frames=frames,
            max_gt_size=size,
            scale=SCALE,
            manifest=options.manifest,
        )
    return folder


def read_pairs(folder: Path, presets: list[str], clips: str = "") -> Iterator[ClipPair]:
    """Read the pairs of the presets, one after another; `clips` keeps names that contain it."""
    found = find_pairs(folder)
    for preset in presets:
        for pair in found:
            name, _, group = pair.gt.stem.rpartition("__")
            if group == preset and clips in name:
                yield ClipPair(name, group, ClipFile(pair.lq), ClipFile(pair.gt))


def choose_methods(options: argparse.Namespace) -> dict[str, Method]:
    """Load the methods that were asked for."""
    methods: dict[str, Method] = {}
    if "bicubic" in options.methods:
        methods["bicubic"] = by_frame(bicubic)
    if "animevideov3" in options.methods and options.ncnn_model:
        methods["animevideov3"] = by_frame(AnimeVideo(options.ncnn_model, options.threads))
    if "star-small" in options.methods:
        for steps in options.steps or [None]:
            name = "star-small" if steps is None else f"star-small, {steps} step{'s' * (steps > 1)}"
            methods[name] = by_clip(StarSmall(options.weights, options.seed, steps))
    return methods


def _add_crop(sheets: dict[str, dict[str, Row]], pair: ClipPair, method: str, index: int, frame: FrameSet) -> None:
    left, top = detailed_window(frame.gt, CROP_WIDTH, CROP_HEIGHT)

    def cut(picture: ByteArray) -> ByteArray:
        return window(picture, left, top, CROP_WIDTH, CROP_HEIGHT)

    rows = sheets.setdefault(pair.group, {})
    if pair.name not in rows:
        lq = cut(enlarge_nearest(next(islice(pair.lq, index, None)), SCALE))
        rows[pair.name] = Row(f"{pair.name}, frame {index}", {"lq": lq})
    pictures = rows[pair.name].pictures
    gt = pictures.pop("ground truth", None)
    pictures[method] = cut(frame.hq)
    pictures["ground truth"] = cut(frame.gt) if gt is None else gt


def _circumstances(options: argparse.Namespace, pairs: Path) -> dict[str, object]:
    return {
        "pairs": json.loads((pairs / "pairs.json").read_text()),
        "bicubic": "torch, a = -0.75, no antialias",
        "animevideov3": f"{ANIME_VIDEO} through ncnn, frame by frame",
        "weights": str(options.weights.name) if options.weights else "as shipped",
        "seed": options.seed,
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }


def _differences(table: ScoreTable) -> str:
    """Tell what star-small gains over each other method, and on how many clips."""
    lines = []
    ours = {(s.group, s.clip): s for s in table.scores if s.method == "star-small"}
    for other in (m for m in table.methods() if m != "star-small" and ours):
        for name in table.scores[0].values:
            gains = [ours[s.group, s.clip].values[name] - s.values[name] for s in table.scores if s.method == other]
            lines.append(
                f"star-small - {other:13s} {name:20s} {sum(gains) / len(gains):+8.4f}  (min {min(gains):+.4f})"
            )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hq", type=Path, required=True, help="folder of sharp clips")
    parser.add_argument("--manifest", type=Path, help="CSV with the sharp_scale of each clip")
    parser.add_argument("--out", type=Path, default=Path("results/quality"), help="folder for tables and pictures")
    parser.add_argument("--pairs", type=Path, help="folder of pairs made before (default: under --out)")
    parser.add_argument("--weights", type=Path, help="star-small weights (default: as shipped)")
    parser.add_argument("--ncnn-model", type=Path, help=f"folder with {ANIME_VIDEO}.param and .bin")
    parser.add_argument("--methods", nargs="+", default=["bicubic", "animevideov3", "star-small"])
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[metric.name for metric in DEFAULT_METRICS],
        choices=[metric.name for metric in METRICS],
    )
    parser.add_argument("--presets", nargs="+", default=["light", "heavy"])
    parser.add_argument("--clips", default="", help="only clips whose name contains this")
    parser.add_argument("--frames", type=int, help="frames of each clip")
    parser.add_argument("--full", action="store_true", help=f"{FULL_SIZE[0]}x{FULL_SIZE[1]}, {FULL_FRAMES} frames")
    parser.add_argument("--crop", type=int, default=8, help="border cut before measuring, in pixels")
    parser.add_argument(
        "--steps", type=int, nargs="+", help="sampling steps of star-small, one row each (default: its own)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    try:
        main()
    except StarVsrError as error:
        sys.exit(f"error: {error}")
