"""A small decoder whose pictures are for the guidance alone: final frames never come from it.

In each step the neighbour's clean estimate is decoded, only to be warped and read again by the TCM at a quarter of its
size. The autoencoder's decoder takes three quarters of the work for that. This network stands in for it there: residual
blocks at the size of the latents, then sub-pixel convolutions. It is trained to give what the autoencoder's decoder
gives (`starvsr.training.guidance_decoder`).

Source: sub-pixel convolution (arXiv 1609.05158), with an initialisation that agrees between sub-pixels (arXiv
1707.02937).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.errors import OptionError, WeightsError
from starvsr.families.stablevsr.configuration import read_json
from starvsr.models.weights import build_empty, fit, read_tensors
from starvsr.models.weights.locate import ModelFiles

FOLDER = "guidance_decoder"
"""Where it lies in a model folder, and its role among a model's files."""
CONFIG, TENSORS = "config.json", "diffusion_pytorch_model.safetensors"
CLASS_NAME = "GuidanceDecoder"
LIMIT = 16.0
"""Latents have a standard deviation of about 1; what lies beyond this is cut off, so that float16 cannot overflow."""
_SIZES = ("width", "num_blocks", "up_width", "num_up_blocks", "thin_width")


@dataclass(frozen=True)
class GuidanceDecoderConfig:
    """Sizes of a `GuidanceDecoder`.

    Attributes:
        width: channels at the size of the latents.
        num_blocks: residual blocks of two convolutions there.
        up_width: channels at twice that size.
        num_up_blocks: residual blocks there.
        thin_width: channels at four times the size.
        latent_channels: of the latents.
    """

    width: int = 64
    num_blocks: int = 6
    up_width: int = 64
    num_up_blocks: int = 1
    thin_width: int = 32
    latent_channels: int = 4

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            OptionError: a width below 1, or a number of blocks below 0.
        """
        sizes = dataclasses.asdict(self)
        for name, value in sizes.items():
            least = 0 if name.startswith("num_") else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"{name} of a decoder for guidance must be a whole number from {least}, not {value}")


class GuidanceDecoder(nn.Module):
    """Decodes clean latents to pictures of four times the size, in the number type of its weights.

    Args:
        config: Its sizes; None for those of the published model's.
    """

    def __init__(self, config: GuidanceDecoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GuidanceDecoderConfig()
        self.first = nn.Conv2d(config.latent_channels, config.width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(config.width) for _ in range(config.num_blocks)))
        self.up = nn.Conv2d(config.width, 4 * config.up_width, 3, padding=1)
        self.up_blocks = nn.Sequential(*(_Block(config.up_width) for _ in range(config.num_up_blocks)))
        self.fine = nn.Conv2d(config.up_width, 4 * config.thin_width, 3, padding=1)
        self.last = nn.Conv2d(config.thin_width, 3, 3, padding=1)
        for layer in (self.up, self.fine):
            _agree(layer)

    def forward(self, latent: Tensor) -> Tensor:
        """Return pictures float32 [B, 3, 4h, 4w], about [-1, 1] and not clamped, of clean latents [B, C, h, w]."""
        features = self.first(latent.clamp(-LIMIT, LIMIT).to(self.first.weight.dtype))
        features = self.blocks(features)
        features = F.pixel_shuffle(self.up(features), 2)
        features = self.up_blocks(features)
        features = F.pixel_shuffle(F.silu(self.fine(features)), 2)
        picture: Tensor = self.last(features)
        return picture.float()


class _Block(nn.Module):
    """Two convolutions beside their input; without effect at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.second(F.silu(self.first(features)))
        return features + added


@torch.no_grad()
def _agree(layer: nn.Conv2d) -> None:
    """Begin with equal sub-pixels, so that no grid must be unlearned."""
    assert layer.bias is not None
    layer.weight.copy_(layer.weight[::4].repeat_interleave(4, 0))
    layer.bias.copy_(layer.bias[::4].repeat_interleave(4))


SIZE_TOLERANCE = 0.005
"""By what part rounding to bfloat16 may change the size of weights: half of its last bit."""


@dataclass(frozen=True)
class Described:
    """What the configuration file of a decoder says.

    Attributes:
        config: Sizes.
        scaling_factor: Of the autoencoder whose latents it decodes.
        vae_fingerprint: What `fingerprint` says of that autoencoder; empty if it is not told.
    """

    config: GuidanceDecoderConfig
    scaling_factor: float
    vae_fingerprint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the entries of the configuration file."""
        own = {"scaling_factor": self.scaling_factor, "vae_fingerprint": self.vae_fingerprint}
        return {"_class_name": CLASS_NAME, **dataclasses.asdict(self.config), **own}


def fingerprint(vae: Any) -> str:
    """Return what tells an autoencoder from others, whatever file and number type it is kept in.

    It is made of the signs of weights, of which published ones have 18,944, and of their size: rounding to another
    type changes no sign, and the size by less than `SIZE_TOLERANCE`.

    Args:
        vae: ``AutoencoderKL`` with its weights; those that read latents are looked at.
    """
    weights = [tensor.detach().cpu().flatten() for tensor in (vae.decoder.conv_in.weight, vae.decoder.conv_in.bias)]
    signs = np.packbits(torch.cat([torch.signbit(tensor) for tensor in weights]).numpy())
    size = float(torch.cat([tensor.double() for tensor in weights]).norm())
    return f"{hashlib.sha256(signs.tobytes()).hexdigest()[:16]}-{size:.5g}"


def is_same_autoencoder(told: str, found: str) -> bool:
    """Whether two fingerprints are of one autoencoder."""
    (signs, _, size), (signs_found, _, size_found) = told.partition("-"), found.partition("-")
    try:
        return signs == signs_found and math.isclose(float(size), float(size_found), rel_tol=SIZE_TOLERANCE)
    except ValueError:
        return False


def decoder_files(folder: Path) -> ModelFiles:
    """Return configuration and tensors of a decoder for guidance: in the folder's own "guidance_decoder", or in it.

    Raises:
        WeightsError: There are none.
    """
    for place in (folder / FOLDER, folder):
        if (place / TENSORS).is_file() and (place / CONFIG).is_file():
            return {FOLDER: place / TENSORS, f"{FOLDER}/{CONFIG}": place / CONFIG}
    raise WeightsError(
        f"no decoder for the guidance in {folder}: give a folder with {CONFIG} and {TENSORS}, or one with such a "
        f"folder {FOLDER}; `starvsr train recipes/stablevsr-guidance-decoder.toml` makes one"
    )


def describe_decoder(files: ModelFiles, vae: Mapping[str, Any]) -> Described:
    """Read the configuration of a decoder and hold it against that of the autoencoder; reads no weights.

    Args:
        files: From `decoder_files`.
        vae: Configuration of the model's ``AutoencoderKL``.

    Raises:
        WeightsError: It is missing, damaged, of another network, or for other latents.
    """
    path, entries = files[f"{FOLDER}/{CONFIG}"], read_json(files, f"{FOLDER}/{CONFIG}")
    kind = entries.get("_class_name")
    if kind != CLASS_NAME:
        raise WeightsError(f"{path} is of a {kind or 'network without a name'}, and not of a decoder for the guidance")
    try:
        config = GuidanceDecoderConfig(**{name: entries[name] for name in (*_SIZES, "latent_channels")})
    except KeyError as error:
        raise WeightsError(f"{path} lacks {error.args[0]}: export the decoder again") from error
    except OptionError as error:
        raise WeightsError(f"{path}: {error}") from error
    if config.latent_channels != vae["latent_channels"]:
        raise WeightsError(
            f"{path} decodes {config.latent_channels} channels, and this model's latents have "
            f"{vae['latent_channels']}: it was trained beside another autoencoder"
        )
    factor = entries.get("scaling_factor")
    if not isinstance(factor, int | float) or not math.isclose(factor, vae["scaling_factor"], rel_tol=1e-3):
        raise WeightsError(
            f"{path} is for latents scaled by {factor}, and this model's are scaled by {vae['scaling_factor']}: it was "
            "trained beside another autoencoder"
        )
    return Described(config, float(factor), str(entries.get("vae_fingerprint") or ""))


def load_decoder(files: ModelFiles, described: Described, vae: Any, dtype: torch.dtype) -> GuidanceDecoder:
    """Load a decoder on the CPU, frozen.

    Args:
        files: From `decoder_files`.
        described: Its configuration.
        vae: ``AutoencoderKL`` of the model.
        dtype: Number type of its weights.

    Raises:
        WeightsError: It was trained beside another autoencoder, is damaged, or does not fit its configuration.
    """
    told = described.vae_fingerprint
    if told and not is_same_autoencoder(told, fingerprint(vae)):
        raise WeightsError(
            f"{files[FOLDER]} was trained beside another autoencoder than this model's: train one for it by "
            "recipes/stablevsr-guidance-decoder.toml"
        )
    decoder = build_empty(lambda: GuidanceDecoder(described.config))
    fit(decoder, read_tensors(files[FOLDER]), files[FOLDER], dtype=dtype)
    return decoder.eval().requires_grad_(False)
