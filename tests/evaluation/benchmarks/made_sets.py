"""Tiny data sets in the layouts of the field, made by Pillow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.evaluation.made_clips import moving, pictures


def frames_of(folder: Path, count: int = 2, size: tuple[int, int] = (16, 8)) -> Path:
    """Write a folder of equal frames."""
    folder.mkdir(parents=True)
    first = folder / "00000000.png"
    Image.new("RGB", size, (90, 120, 30)).save(first)
    for index in range(1, count):
        os.link(first, folder / f"{index:08d}.png")
    return folder


def set_of(
    root: Path, sides: Sequence[str], clips: Sequence[str], count: int = 2, small: tuple[int, int] = (16, 8)
) -> Path:
    """Write folders of clips, those of "GT" and its like four times as large."""
    large = (4 * small[0], 4 * small[1])
    for side in sides:
        is_large = side.split("/")[-1] in ("GT", "gt", "GT_test", "val_sharp", "train_sharp", "truth")
        for clip in clips:
            frames_of(root / side / clip, count, large if is_large else small)
    return root


def pairs(root: Path, names: Sequence[str] = ("one", "two"), count: int = 3) -> Path:
    """Write GT and LQ of clips that move, 96x64 and 24x16."""
    for seed, name in enumerate(names):
        gt = moving(count, seed=seed)
        pictures(root / "GT" / name, gt)
        small = [np.asarray(Image.fromarray(f).resize((24, 16), Image.Resampling.BICUBIC)) for f in gt]
        pictures(root / "LQ" / name, np.stack(small))
    return root
