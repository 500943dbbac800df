"""Commands of the pages, run as they stand but for sizes: by this process, and by a shell where a line needs one."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from starvsr.apps.cli import main
from tests.docs.reader import copy_batch, copy_report, fetch_starts, interrupt, leave_interrupted, vote
from tests.docs.torchrun import on_two_hosts

SMALLER = {
    "1920x1080": "200x100",
    "1080": "80",
    "--workers 4": "--workers 1",
    "--threads 2": "--threads 1",
    "--workers 8": "--workers 1",
    "--device cuda": "--device cpu",
    "--devices cuda:0,cuda:1": "--devices cpu,cpu",
    "--rounds 7 --command-frames 96": "--rounds 1 --command-frames 2",
    "--rounds 3 --other": "--rounds 1 --other",
}
"""Sizes and devices of the tests' machine in place of those of the pages."""
_SMALL_DATA = (
    "data.videos=HQ_VIDEOS data.photos=HQ_PHOTOS data.pool_size=2 data.crops_per_clip=2 data.batch=1 data.lq_crop=12 "
    "data.clip_frames=2 data.gt_size=64 data.num_frames=2"
)


def overrides(*values: str) -> str:
    return "".join(f" --override {one}" for value in values for one in value.split())


_QUICKLY = "run.save_every=1 run.precision=fp32 run.codec_precision=fp32 data.workers=0"
_COGVIDEOX = (
    "network.num_attention_heads=2 network.attention_head_dim=16 network.num_layers=2 network.time_embed_dim=12 "
    "network.text_embed_dim=24 network.lora_rank=4"
)
_SMALL_NETWORK = "network.width=24 network.head_dim=8 network.context_dim=8"
_ONE_STEP = "stage.0.steps=1 stage.0.warmup=0"
_STABLEVSR = "data.pool_size=1 data.crops_per_clip=1 data.batch=1 data.lq_crop=16 data.gt_size=64 data.num_frames=2"
_TWO_FRAMES = " --frames 2 --size 96x64 --threads 1"

BRIEFER = {
    "starvsr tune clip.mp4": " --models bicubic",
    "starvsr benchmark udm10": " --clips 000 --metrics psnr_y_db --allow-partial",
    "starvsr upscale clip.mp4 --model stablevsr": " --steps 1 --flow dis --overwrite",
    "starvsr upscale clip.mp4 --model star-": " --steps 1 --overwrite",
    "starvsr upscale clip.mp4 --model causal-sr": " --overwrite",
    "starvsr upscale clips/ --model star-light": " --steps 1",
    "starvsr upscale clip.mp4 -o star.mp4 --model star-light": " --steps 1",
    "starvsr benchmark reds4": " --allow-partial --clips 000 --metrics psnr_y_db --option stablevsr.steps=1"
    " --option stablevsr.flow=dis",
    "starvsr benchmark vid4": " --metrics psnr_y_db --allow-partial",
    "starvsr benchmark custom --data CLIPS": " --frames 2 --clips a --allow-shift",
    "python -m benchmarks.speed.speed_small": " --frames 1",
    "python -m benchmarks.speed.busy_machine": " --alone -- --model bicubic --threads 1",
    "starvsr models fetch cogvideox": " --accept-licence",
    "starvsr models fetch star-cogvideox": " --accept-licence",
    "python -m benchmarks.quality.guards": " --size 288x216 --details",
    "python -m benchmarks.speed.overlaps": " --sizes 64x64 --frames 8",
    "python -m benchmarks.quality.acceptance_lq": " --threads 1 --clips a",
    "python -m benchmarks.quality.ablations": " --prior-steps 1 --steps 1 --rows liem-both" + _TWO_FRAMES
    + overrides(_SMALL_DATA, _SMALL_NETWORK),
    "python -m benchmarks.quality.picture_quality": " --frames 2 --measured 1 --size 96 96 --damages light --threads 1",
    "python -m benchmarks.quality.quality_small": " --frames 2 --presets light --threads 1",
    "python -m benchmarks.quality.stablevsr_ablation": " --frames 2 --side 64 --windows 1 --steps 1",
    "python recipes/stablevsr_tiny_upscaler.py": " --vae-steps 1 --unet-steps 1 --batch 1",
    "starvsr train recipes/star-small.toml": overrides(
        _SMALL_DATA, *(f"stage.{index}.steps=1 stage.{index}.warmup=0" for index in range(4)),
        "stage.2.num_frames=2 stage.2.lq_crop=12 stage.3.num_frames=2 stage.3.lq_crop=12",
    ),
    "starvsr train recipes/star-small-looks.toml": overrides(
        _SMALL_DATA, _QUICKLY, _ONE_STEP, "stage.0.warmup=0 stage.0.regression.excerpt_side=32"
    ),
    "starvsr train recipes/star-small-texture.toml": overrides(
        _SMALL_DATA, _QUICKLY, _ONE_STEP, "stage.0.warmup=0 stage.0.regression.excerpt_side=32"
    ),
    "starvsr train recipes/star-small-faithful.toml": overrides(_SMALL_DATA, _QUICKLY, _ONE_STEP, "stage.0.warmup=0"),
    "starvsr train recipes/star-2b.toml -o": overrides(_SMALL_DATA, _QUICKLY, "stage.0.steps=2 stage.0.warmup=0"),
    "starvsr train recipes/star-2b.toml --device": overrides(_SMALL_DATA, _QUICKLY, _ONE_STEP),
    "starvsr train recipes/star-cogvideox-5b.toml -o": overrides(
        _SMALL_DATA, _QUICKLY, _COGVIDEOX, _ONE_STEP, "data.num_frames=5 data.clip_frames=5 data.lq_width=12",
    ),
    "starvsr train recipes/star-cogvideox-tiny.toml": overrides(
        _ONE_STEP, "data.pool_size=2 data.crops_per_clip=1 data.batch=1"
    ),
    "starvsr train recipes/stablevsr.toml": overrides(_STABLEVSR, _QUICKLY, _ONE_STEP, "stage.0.guidance.flow=dis"),
    "starvsr train recipes/stablevsr-tiny.toml": overrides(_STABLEVSR, _ONE_STEP, "data.clip_frames=2"),
    "starvsr train recipes/stablevsr-guidance-decoder.toml": overrides(
        _STABLEVSR, _QUICKLY, _ONE_STEP, "data.num_frames=1"
    ),
    "starvsr train recipes/causal-sr.toml": overrides(
        _SMALL_DATA, _QUICKLY, *(f"stage.{index}.steps=1" for index in range(3)), "stage.1.num_frames=2",
        "stage.2.num_frames=2 stage.2.lq_crop=12 stage.2.regression.excerpt_side=32",
        "network.num_blocks=2 network.memory=1",
    ),
}  # fmt: skip
"""What is added to a command that begins so: one step instead of thousands, one excerpt instead of all."""


def train_lora(_: Path) -> None:
    """Have a LoRA of one's own, made as on the page about training."""
    trained = next(line for line in BRIEFER if "star-cogvideox-5b.toml" in line)
    for line in (
        "models fetch cogvideox-5b-transformer --accept-licence",
        f"{trained.removeprefix('starvsr ')} runs/lora{BRIEFER[trained]}",
        "export runs/lora --lora -o lora.safetensors",
    ):
        assert main(line.split()) == 0, line


BEFORE: dict[str, Callable[[Path], None]] = {
    "starvsr upscale clip.mp4 --model star-cogvideox-5b --weights lora": train_lora,
    "torchrun --nproc-per-node 8 -m starvsr train recipes/star-2b.toml --device cuda": fetch_starts,
    "starvsr upscale film.mkv": interrupt,
    "starvsr jobs": interrupt,
    "starvsr evaluate --compare": copy_report,
    "python -m benchmarks.blind_sheets count": vote,
    "python -m benchmarks.cluster.archive_plan": copy_batch,
}
"""What has happened in the folder when the reader types a command that begins so."""
STATUS = {"python -m benchmarks.quality.guards": 1}
"""Exit statuses that are not 0: star-small does not keep all limits, as the page says."""
_FOR_A_SHELL = re.compile(r"[|&;$>*]")
_ONE_HOST = re.compile(r"^torchrun --nproc-per-node \d+ -m ")
"""What one process runs in place of several; the command for several hosts has two."""


def _matching(table: dict[str, object], line: str) -> list:
    return [value for key, value in table.items() if line.startswith(key)]


def run_line(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a line of a page in the current folder: a command, or several, each if the one before succeeds."""
    code, said = 0, ""
    for command in line.split(" && "):
        code, said = _run(command, folder, monkeypatch)
        if code != 0:
            break
    return code, said


def _run(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command.

    Returns:
        Exit status (0 where it is as it should be), and what a shell said.
    """
    for act in _matching(BEFORE, line):
        act(folder)
    line = _ONE_HOST.sub("", line)
    if " --resume" in line:
        leave_interrupted(folder / shlex.split(line)[4])
    expected = next(iter(_matching(STATUS, line)), 0)
    for size, small in SMALLER.items():
        line = line.replace(f" {size}", f" {small}")
    line += "".join(_matching(BRIEFER, line))
    words = shlex.split(line)
    if words[0] == "torchrun":
        return on_two_hosts(words[1:])
    if _FOR_A_SHELL.search(line) or words[0] == "cp":
        ended = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True)
        return ended.returncode ^ expected, ended.stderr
    assert words[0] in ("starvsr", "python"), f"{line}: not run by this test, so it names what it needs"
    if words[0] == "starvsr":
        return main(words[1:]) ^ expected, ""
    with monkeypatch.context() as patch:
        if words[1] == "-m":
            patch.setattr(sys, "argv", words[2:])
            return (importlib.import_module(words[2]).main() or 0) ^ expected, ""
        patch.setattr(sys, "argv", words[1:])
        runpy.run_path(words[1], run_name="__main__")
    return 0 ^ expected, ""
