"""A network small enough to train in a test, with every kind of block in it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from starvsr.families import registry
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.small.config import StarSmallConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights.star import VENHANCER_ONLY
from tests.support.tiny_star import randomized

TINY = dataclasses.replace(
    registry.STAR_SMALL,
    name="tiny",
    network=StarSmallConfig(
        in_channels=48, out_channels=48, width=8, multipliers=(1, 2), num_res_blocks=(0, 1), head_dim=8,
        first_heads=0, attn_scales=(), context_dim=8, norm="channel", temporal_stages=(1, 1), dropout=0.0,
        temporal_padding="repeat", refinement_width=4,
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

[stage.losses]
adversarial = 0.1
"""


PUBLISHED_UNET = StarUNetConfig(
    width=32, multipliers=(1, 1), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=16,
    temporal_stages=(1, 1), dropout=0.1,
)  # fmt: skip
VAE = TemporalVaeConfig(channels=(32, 32, 32, 32), layers_per_block=2)
TOWER = TextTowerConfig(width=16, heads=2, blocks=1)
MERGES = Path(__file__).parents[1] / "parity" / "data" / "clip_merges.txt.gz"

PUBLISHED_RECIPE = """
model = "star-light"
init = "venhancer"
models = "{models}"
seed = 3

[data]
photos = "{photos}"
captions = "{photos}"
cache = "{cache}"
degradation = "light"
num_frames = 2
lq_crop = 14
clip_frames = 2
gt_size = 64
pool_size = 2
crops_per_clip = 3
batch = 1
workers = 0

[run]
optimizer = "adamw"
weight_decay = 0.01
activation_checkpointing = true
log_every = 1
save_every = 1
ema = 0.9

[[stage]]
objective = "star"
steps = 3
warmup = 0
lr = 1e-3
schedule = "constant"

[stage.velocity]
decode_slice = 1
"""


def random_tensors(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Fill a network, layers that start at zero included, and return its tensors."""
    return randomized(network, seed).state_dict()


def write_published(folder: Path) -> Path:
    """Write the published files at tiny size, named and laid out as they are fetched."""
    for name in ("vae", "text_encoder", "tokenizer"):
        (folder / name).mkdir(parents=True)
    tensors = random_tensors(StarUNet(PUBLISHED_UNET), 1)
    torch.save({"state_dict": tensors}, folder / "light_deg.pt")
    older = {name: value for name, value in tensors.items() if ".local" not in name}
    torch.save(older | {name: torch.ones(2) for name in VENHANCER_ONLY}, folder / "venhancer_v2.pt")
    save_file(random_tensors(TemporalVae(VAE), 2), folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    sizes = {"block_out_channels": VAE.channels, "layers_per_block": 2, "latent_channels": 4, "scaling_factor": 0.18215}
    (folder / "vae" / "config.json").write_text(json.dumps(sizes))
    save_file(random_tensors(TextTower(TOWER), 3), folder / "text_encoder" / "model.safetensors")
    (folder / "text_encoder" / "config.json").write_text("{}")
    (folder / "tokenizer" / "merges.txt").write_bytes(MERGES.read_bytes())
    return folder


def published_entries() -> StarI2VGenSpec:
    """Return the registry's entry of star-light at tiny size."""
    return dataclasses.replace(registry.get_spec("star-light", StarI2VGenSpec), unet=PUBLISHED_UNET)


def write_published_recipe(folder: Path, models: Path) -> Path:
    """Write a recipe that trains the tiny published STAR as the paper does, on a photo with a caption."""
    photos = write_photo(folder / "photos")
    (photos / "a.txt").write_text("a grey cloud of noise\n")
    path = folder / "published.toml"
    path.write_text(PUBLISHED_RECIPE.format(models=models, photos=photos, cache=folder / "cache"))
    return path


def write_photo(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).resize((160, 160), Image.Resampling.BICUBIC).save(folder / "a.png")
    return folder


def write_recipe(folder: Path) -> Path:
    """Write a recipe over all that a resumed run must restore: stages, auxiliary networks, dropout, accumulation."""
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
