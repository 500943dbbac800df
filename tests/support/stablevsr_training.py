"""What the trainings of StableVSR's parts are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from starvsr.data.pool import Batch


def write_reds(folder: Path, clips: Sequence[str], num_frames: int) -> Path:
    """Write clips of noise in the layout of REDS: 30x24 pixels, and 120x96 enlarged from them."""
    generator = np.random.default_rng(2)
    for name in clips:
        for t in range(num_frames):
            small = Image.fromarray(generator.integers(0, 255, (24, 30, 3), np.uint8))
            large = small.resize((120, 96), Image.Resampling.BICUBIC)
            for place, picture in (("train_sharp", large), ("train_sharp_bicubic/X4", small)):
                (folder / place / name).mkdir(parents=True, exist_ok=True)
                picture.save(folder / place / name / f"{t:08d}.png")
    return folder


def random_batch(num_frames: int, count: int) -> Batch:
    """Return a batch of random frames of 64x64 and their means over squares of 4 pixels."""
    generator = torch.Generator().manual_seed(1)
    gt = torch.rand(count, 3, num_frames, 64, 64, generator=generator) * 2 - 1
    lq = torch.nn.functional.avg_pool3d(gt, (1, 4, 4))
    return Batch(lq=lq, gt=gt, caption=[""] * count, name=["a"] * count)
