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
from tests.docs.reader import copy_batch, copy_report, interrupt, vote

SMALLER = {
    "1920x1080": "200x100",
    "1080": "80",
    "--workers 4": "--workers 1",
    "--threads 2": "--threads 1",
    "--workers 8": "--workers 1",
}
"""Sizes that the clips of the tests and two processors take in place of those of the pages."""
_SMALL_DATA = (
    "data.videos=HQ_VIDEOS data.photos=HQ_PHOTOS data.pool_size=2 data.crops_per_clip=2 data.batch=1 data.lq_crop=12 "
    "data.clip_frames=2 data.gt_size=64 data.num_frames=2"
)


def overrides(*values: str) -> str:
    return "".join(f" --override {one}" for value in values for one in value.split())


BRIEFER = {
    "starvsr tune clip.mp4": " --models bicubic",
    "starvsr benchmark udm10": " --clips 000 --metrics psnr_y_db --allow-partial",
    "starvsr upscale clip.mp4 --model stablevsr": " --steps 1",
    "python -m benchmarks.quality.guards": " --size 288x216 --details",
    "python -m benchmarks.speed.overlaps": " --sizes 64x64 --frames 8",
    "python -m benchmarks.quality.acceptance_lq": " --threads 1 --clips a",
    "starvsr train recipes/star-small.toml": overrides(
        _SMALL_DATA, *(f"stage.{index}.steps=1 stage.{index}.warmup=0" for index in range(4)),
        "stage.2.num_frames=2 stage.2.lq_crop=12 stage.3.num_frames=2 stage.3.lq_crop=12",
    ),
    "starvsr train recipes/star-cogvideox-tiny.toml": overrides(
        "stage.0.steps=1 stage.0.warmup=0 data.pool_size=2 data.crops_per_clip=1 data.batch=1"
    ),
}  # fmt: skip
"""What is added to a command that begins so: one step instead of thousands, one excerpt instead of all."""
BEFORE: dict[str, Callable[[Path], None]] = {
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


def _matching(table: dict[str, object], line: str) -> list:
    return [value for key, value in table.items() if line.startswith(key)]


def run_line(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command of a page in the current folder.

    Returns:
        Exit status (0 where it is as it should be), and what a shell said.
    """
    for act in _matching(BEFORE, line):
        act(folder)
    expected = next(iter(_matching(STATUS, line)), 0)
    for size, small in SMALLER.items():
        line = line.replace(f" {size}", f" {small}")
    line += "".join(_matching(BRIEFER, line))
    words = shlex.split(line)
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
