"""A network small enough to train in a test, with every kind of block in it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from starvsr.models import registry
from starvsr.models.star_unet import StarUNetConfig

TINY = dataclasses.replace(
    registry.STAR_SMALL,
    name="tiny",
    unet=StarUNetConfig(
        in_channels=48, out_channels=48, width=8, multipliers=(1, 2), num_res_blocks=(0, 1), head_dim=8,
        first_heads=0, attn_scales=(), context_dim=8, norm="channel", temporal_stages=(1, 1), dropout=0.0,
    ),
)  # fmt: skip

RECIPE = """
model = "tiny"
seed = 5
network = {{ dropout = 0.1 }}

[data]
photos = "{photos}"
cache = "{cache}"
degradation = "light"
num_frames = 2
lq_crop = 12
clip_frames = 2
gt_size = 64
pool_size = 2
crops_per_clip = 3
batch = 1

[run]
accumulate = 2
log_every = 1
save_every = 1
ema = 0.9

[[stage]]
objective = "velocity"
steps = 3
warmup = 1

[[stage]]
objective = "distribution-matching"
zero_head = true
steps = 4
warmup = 1
adversarial_weight = 0.1
"""


def write_photo(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).resize((160, 160), Image.Resampling.BICUBIC).save(folder / "a.png")
    return folder


def write_recipe(folder: Path) -> Path:
    """Write a recipe over all that a resumed run must restore: two stages, helpers, dropout, accumulation."""
    photos = write_photo(folder / "photos")
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(photos=photos, cache=folder / "cache"))
    return path


def forked(*words: str | Path) -> str:
    """Run `tests.training.forked` and return what it said."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.training.forked", *map(str, words)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
