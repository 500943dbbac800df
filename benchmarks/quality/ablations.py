"""Train and measure the rows of the paper's ablations on star-small, every row with the same budget.

    python -m benchmarks.quality.ablations --videos DIR --photos DIR --hq DIR [--tables 3 4] [--rows ROW ...] [--out
            DIR]

Each row of recipes/ablations/rows.toml is recipes/ablations/base.toml with its overrides, trained under OUT/ROW from
the prior that recipes/ablations/prior.toml makes once under OUT/prior (a run that was interrupted goes on, one that is
done is not repeated), and measured on pairs made from the sharp clips in --hq with fixed seeds: PSNR-Y, SSIM-Y,
VMAF-NEG, warping error, all in one step. The tables show the paper's PSNR, LPIPS and warping error beside them, say how
many pairs of rows stand in the same order as in the paper, and how far equal recipes with other samples lie apart
(table 0). Rows with equal recipes are trained once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.marked import replace_marked
from starvsr.data.paired import find_pairs, make_eval_pairs
from starvsr.errors import StarVsrError
from starvsr.metrics.evaluate import ByteArray, ClipPair, by_clip, evaluate
from starvsr.metrics.registry import DEFAULT_METRICS
from starvsr.models.weights import load_weights
from starvsr.training.families import build_model
from starvsr.training.model import TrainingModel
from starvsr.training.recipe import load_recipe
from starvsr.training.run import train, weights_name
from starvsr.video.codec_pass import read_clip
from starvsr.video.pixels import from_unit, to_unit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parents[2] / "recipes" / "ablations"
METRICS = [metric.name for metric in DEFAULT_METRICS]
PRIOR = "prior"
MARKS = ("<!-- ablations:begin -->", "<!-- ablations:end -->")


@dataclass(frozen=True)
class Row:
    """One row: its name, its table in the paper, its overrides, and the paper's PSNR, LPIPS, warping error."""

    name: str
    table: int
    label: str
    overrides: tuple[str, ...]
    paper: tuple[float, float, float] | None = None
    is_measured: bool = True
    """False for a row that one step cannot tell from another; it runs where it is named."""


def read_rows(tables: Sequence[int] = (), names: Sequence[str] = ()) -> list[Row]:
    """Read the rows, all or those of some names or tables (and table 0)."""
    tree: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "rows.toml").read_text())
    rows = []
    for name, entry in tree.items():
        paper = entry.get("paper")
        values = None if paper is None else (float(paper[0]), float(paper[1]), float(paper[2]))
        overrides = tuple(entry["overrides"])
        rows.append(Row(name, entry["table"], entry["label"], overrides, values, entry.get("measured", True)))
    unknown = sorted(set(names) - {row.name for row in rows})
    if unknown:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are {', '.join(row.name for row in rows)}")
    if names:
        return [row for row in rows if row.name in names]
    return [row for row in rows if not tables or row.table in (0, *tables)]


def train_once(recipe: Path, folder: Path, overrides: Sequence[str], start_from: Path | None = None) -> Path:
    """Train by a recipe, or take what an earlier call trained by the same; gives the averaged weights.

    Raises:
        SystemExit: the earlier call's recipe was another one.
    """
    config = load_recipe(recipe, overrides)
    done = folder / "done"
    if not done.exists():
        train(recipe, folder, overrides, start_from=start_from)
        done.write_text(repr(config) + "\n")
    if done.read_text().strip() != repr(config):
        raise SystemExit(f"{folder} was trained by another recipe: give another --out, or remove it")
    return folder / weights_name(config.model)


def load_model(recipe: Path, overrides: Sequence[str], weights: Path) -> TrainingModel:
    """Load trained weights into the network of a recipe."""
    model = build_model(load_recipe(recipe, overrides))
    load_weights(model.network, weights)
    model.network.eval()
    return model


def measure(model: TrainingModel, pairs: Sequence[ClipPair], metrics: Sequence[str]) -> dict[str, float]:
    """Score a trained row on all pairs."""

    @torch.inference_mode()
    def upscale(lq: ByteArray) -> ByteArray:
        return np.asarray(from_unit(model.upscale(to_unit(lq, 8)[None])[0], 8), np.uint8)

    table = evaluate(pairs, {"row": by_clip(upscale)}, metrics=metrics)
    return {name: value for name, value in table.mean("row").items() if name in metrics}


def measure_once(
    recipe: Path, overrides: Sequence[str], weights: Path, pairs: Sequence[ClipPair], protocol: Mapping[str, Any]
) -> dict[str, float]:
    """Score trained weights, or take what an earlier call measured in the same way."""
    kept = weights.with_name("scores.json")
    if kept.exists() and (told := json.loads(kept.read_text()))["protocol"] == protocol:
        scores: dict[str, float] = told["scores"]
        return scores
    scores = measure(load_model(recipe, overrides, weights), pairs, protocol["metrics"])
    kept.write_text(json.dumps({"protocol": protocol, "scores": scores}, indent=1) + "\n")
    return scores


def read_pairs(hq: Path, folder: Path, frames: int, size: tuple[int, int]) -> Iterator[ClipPair]:
    """Make the pairs of an evaluation, or take those that are there."""
    if not (folder / "pairs.json").exists():
        make_eval_pairs(hq, folder, ("light", "heavy"), max_frames=frames, max_gt_size=size)
    for pair in find_pairs(folder):
        name, _, group = pair.gt.stem.rpartition("__")
        yield ClipPair(name, group, read_clip(pair.lq), read_clip(pair.gt))


def to_markdown(rows: Sequence[Row], scores: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> str:
    """Lay out one table per table of the paper, with the share of pairs of rows in the paper's order."""
    text = ""
    for number in sorted({row.table for row in rows}):
        chosen = [row for row in rows if row.table == number]
        text += f"\nTable {number}\n\n| row | {' | '.join(metrics)} | paper: PSNR | LPIPS | E*warp |\n"
        text += "|" + " --- |" * (len(metrics) + 4) + "\n"
        if number == 0 and PRIOR in scores:
            text += f"| before any of the rows | {_cells(scores[PRIOR], metrics)} | - | - | - |\n"
        for row in chosen:
            paper = [f"{value:g}" for value in row.paper] if row.paper else ["-"] * 3
            text += f"| {row.label} | {_cells(scores.get(row.name), metrics)} | {' | '.join(paper)} |\n"
        text += "\n" + agreement([row for row in chosen if row.name in scores], scores)
    return text + spread(rows, scores, metrics)


def _cells(values: Mapping[str, float] | None, metrics: Sequence[str]) -> str:
    return " | ".join("-" if values is None else f"{values[name]:.4f}" for name in metrics)


def spread(rows: Sequence[Row], scores: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> str:
    """Say how far apart the rows lie that differ in nothing but their samples."""
    recipes: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row.name in scores:
            recipe = tuple(word for word in row.overrides if not word.startswith("seed="))
            recipes.setdefault(recipe, []).append(row.name)
    text = ""
    for names in recipes.values():
        if any(row.table == 0 for row in rows if row.name in names) and len(names) > 1:
            values = {name: [scores[row][name] for row in names] for name in metrics}
            apart = ", ".join(f"{name} {max(v) - min(v):.4f}" for name, v in values.items())
            text += f"\nEqual recipes ({', '.join(names)}) differ by: {apart}\n"
    return text


def agreement(rows: Sequence[Row], scores: Mapping[str, Mapping[str, float]]) -> str:
    """Say how many pairs of rows our PSNR and warping error put in the order of the paper's."""
    lines = []
    for name, position in (("psnr_y_db", 0), ("warping_error_x1e3", 2)):
        same = total = 0
        for a, b in combinations([row for row in rows if row.paper], 2):
            assert a.paper is not None and b.paper is not None
            if name not in scores[a.name] or a.paper[position] == b.paper[position]:
                continue
            total += 1
            same += (scores[a.name][name] > scores[b.name][name]) == (a.paper[position] > b.paper[position])
        if total:
            lines.append(f"{name}: {same} of {total} pairs of rows in the paper's order (chance: half)\n")
    return "".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rows and print the tables."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    overrides = [f"data.videos={options.videos}", f"data.cache={options.out / 'cache'}", *options.override]
    if options.photos:
        overrides.append(f"data.photos={options.photos}")
    few = [f"stage.0.steps={options.steps}"] if options.steps else []
    rows = read_rows(options.tables, options.rows)
    width, height = (int(side) for side in options.size.split("x"))
    pairs = list(read_pairs(options.hq, options.out / "pairs", options.frames, (width, height)))
    first = [f"stage.0.steps={options.prior_steps}"] if options.prior_steps else []
    prior = train_once(FOLDER / "prior.toml", options.out / PRIOR, [*overrides, *first])
    protocol = {"metrics": options.metrics, "frames": options.frames, "size": options.size, "pairs": len(pairs)}
    scores = {PRIOR: measure_once(FOLDER / "prior.toml", overrides, prior, pairs, protocol)}
    print(PRIOR, json.dumps(scores[PRIOR]), flush=True)
    trained: dict[str, str] = {}
    for row in rows:
        if not (row.is_measured or row.name in options.rows):
            continue
        words = [*overrides, *few, *row.overrides]
        twin = trained.setdefault(repr(load_recipe(FOLDER / "base.toml", words)), row.name)
        if twin != row.name:
            scores[row.name] = scores[twin]
            continue
        weights = train_once(FOLDER / "base.toml", options.out / row.name, words, start_from=prior)
        scores[row.name] = measure_once(FOLDER / "base.toml", words, weights, pairs, protocol)
        print(row.name, json.dumps(scores[row.name]), flush=True)
    text = to_markdown(rows, scores, options.metrics)
    record = {"overrides": overrides, "pairs": len(pairs), "scores": scores}
    (options.out / "ablations.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.out / "ablations.md").write_text(text)
    if options.write:
        replace_marked(options.write, *MARKS, text.strip())
    print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train and measure the rows of the paper's ablations.")
    parser.add_argument("--videos", required=True, help="folder of sharp videos to train on")
    parser.add_argument("--photos", default="", help="folder of sharp photos to train on")
    parser.add_argument("--hq", type=Path, required=True, help="folder of sharp videos to measure on")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--tables", type=int, nargs="*", default=[], choices=[3, 4, 5, 7])
    parser.add_argument("--rows", nargs="*", default=[], help="names out of recipes/ablations/rows.toml")
    parser.add_argument("--steps", type=int, default=0, help="steps of each row (default: the recipe's)")
    parser.add_argument("--prior-steps", type=int, default=0, help="steps of the prior (default: the recipe's)")
    parser.add_argument("--frames", type=int, default=10, help="frames of each pair measured on")
    parser.add_argument("--size", default="640x360", help="largest ground truth measured on")
    parser.add_argument("--metrics", nargs="*", default=METRICS, choices=METRICS)
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="for every row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", type=Path, help=f"put the tables between {MARKS[0]} and {MARKS[1]} of this page")
    return parser


if __name__ == "__main__":
    try:
        main()
    except StarVsrError as error:
        sys.exit(f"error: {error}")
