"""What tests of commands share: the quickest options, a clip, what a folder holds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from starvsr.video import VideoWriter

QUICK = ("--model", "bicubic", "--threads", "1")


def write_clip(path: Path, num_frames: int = 5, size: tuple[int, int] = (24, 16), rate: int = 25) -> Path:
    rng = np.random.default_rng(3)
    with VideoWriter(path, source=None, width=size[0], height=size[1], frame_rate=Fraction(rate)) as writer:
        for index in range(num_frames):
            writer.write(rng.integers(0, 256, (size[1], size[0], 3), np.uint8), index, 1)
    return path


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())
