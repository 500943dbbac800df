"""STAR on CogVideoX with networks that leave pictures nearly as they are, so that seams of the cutting can be seen.

The autoencoder is diffusers' own class at a small width. Its main path averages pixels and frames into latents and
repeats them, and its residual branches are random and weak: as in a trained one, values follow from neighbouring frames
and from the statistics of the piece. The transformer answers with the low-quality latents, and with an offset that
each call draws anew, as calls that see other frames differ a little.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.diffusion.normal import standard_normal
from starvsr.engine.traits import Traits
from starvsr.families.star_cogvideox.schedule import CogVideoXSchedule
from starvsr.families.star_cogvideox.upscaler import Parts, StarCogVideoXUpscaler
from starvsr.models.cogvideox.config import TransformerConfig

WIDTH, GROUPS, LATENT = 16, 4, 16
LEVEL = 2.0
"""Value of constant channels, one above and one below zero in each colour's group: beside them a group norm keeps most
of a picture's mean and contrast."""
BRANCH = 0.02
"""Strength of the residual branches; all of them together are about a sixth of a picture's contrast."""
STEPS = 2
_PICTURE, _ABOVE, _BELOW = (0, 4, 8), (1, 5, 9), (2, 6, 10)
_CONSTANT = _ABOVE + _BELOW
_SMOOTH = torch.tensor([0.25, 0.5, 0.25])


class Offset(nn.Module):
    """A transformer that predicts the low-quality latents as clean ones, shifted by what each call draws.

    Args:
        size: Largest shift, in levels of 255.
        seed: Of the shifts.
    """

    def __init__(self, size: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.config = TransformerConfig(num_layers=1)
        self.transformer_blocks = nn.ModuleList([nn.Identity()])
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self._size, self._generator = size / 127.5, torch.Generator().manual_seed(seed)
        self._known = {step.timestep: step.known for step in CogVideoXSchedule().steps(STEPS)}

    def forward(self, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """Return the velocity that leads to the shifted low-quality latents; see `StarCogVideoX.forward`."""
        noisy, lq = latents.chunk(2, 2)
        shift = self._size * (2 * torch.rand(1, generator=self._generator) - 1)
        known = self._known[int(timestep)]
        return (known * noisy - (lq + shift)) / float((1 - known**2) ** 0.5)


class IdentityUpscaler(StarCogVideoXUpscaler):
    """The family's upscaler around such networks; restores frames at their own size in two steps."""

    def traits_for(self, values: Mapping[str, Any]) -> Traits:
        """Return the family's traits with one scale and few steps."""
        return dataclasses.replace(super().traits_for(values), scales=(1,), num_steps=STEPS)


def identity_upscaler(offset: float = 0.0, branch: float = BRANCH) -> IdentityUpscaler:
    """Build the model.

    Args:
        offset: Largest shift that a call adds, in levels of 255.
        branch: Strength of the residual branches of the autoencoder.
    """
    parts = Parts(Offset(offset), identity_vae(branch), lambda text: torch.zeros(1, 2, 3))  # type: ignore[arg-type]
    return IdentityUpscaler("star-cogvideox-5b", parts, loaded_with={"guidance": 1.0})


def identity_vae(branch: float = BRANCH) -> Any:
    """Build the autoencoder."""
    library: Any = import_module("diffusers")
    vae = library.AutoencoderKLCogVideoX(
        block_out_channels=(WIDTH,) * 4, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4, latent_channels=LATENT, layers_per_block=1,
        norm_num_groups=GROUPS, scaling_factor=1.0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.zeros_like(value) for name, value in vae.state_dict().items()}
    for name, value in tensors.items():
        _fill(name, value, branch, generator)
    for side in ("encoder", "decoder"):
        _fill_ends(tensors, side)
    vae.load_state_dict(tensors)
    return vae.eval().requires_grad_(False)


def sigmoid(x: float) -> float:
    """Return the logistic function of a number."""
    return 1 / (1 + math.exp(-x))


def _fill(name: str, value: Tensor, branch: float, generator: torch.Generator) -> None:
    """Fill norms, branches, and layers that change the size."""
    if ".resnets." in name and name.endswith(("conv1.conv.weight", "conv2.conv.weight")):
        value.copy_(standard_normal(tuple(value.shape), generator=generator) / value[0].numel() ** 0.5)
        if ".conv2." in name:
            value.mul_(branch)
            value[list(_CONSTANT)] = 0
    elif name.endswith(("norm1.weight", "norm2.weight", "norm_layer.weight", "conv_y.conv.bias")):
        value.fill_(1)
    elif name.endswith("downsamplers.0.conv.weight"):
        for channel in range(WIDTH):
            value[channel, channel, :2, :2] = 0.25
    elif name.endswith("upsamplers.0.conv.weight"):
        for channel in range(WIDTH):
            value[channel, channel] = _SMOOTH[:, None] * _SMOOTH
        for channel in _CONSTANT:
            value[channel, channel] = 0
            value[channel, channel, 1, 1] = 1


def _fill_ends(tensors: dict[str, Tensor], side: str) -> None:
    """Fill the first and the last layers: colours into three channels beside constant ones, and out again.

    In front of the last convolution a colour c is normalized to about sqrt(2) * c / LEVEL, and goes through SiLU around
    3, where that is nearly linear.
    """
    entry = tensors[f"{side}.conv_in.conv.weight"]
    for colour, channel in enumerate(_PICTURE):
        entry[channel, colour, -1, 1, 1] = 1
    tensors[f"{side}.conv_in.conv.bias"][list(_ABOVE)] = LEVEL
    tensors[f"{side}.conv_in.conv.bias"][list(_BELOW)] = -LEVEL
    shift = f"{side}.norm_out.bias" if side == "encoder" else f"{side}.norm_out.conv_b.conv.bias"
    tensors[shift].fill_(3)
    if side == "encoder":
        tensors[f"{side}.norm_out.weight"].fill_(1)
    middle, through = 3 * sigmoid(3), sigmoid(3) * (1 + 3 * sigmoid(-3))  # SiLU and its slope
    gain = LEVEL / 2**0.5 / through
    last, bias = tensors[f"{side}.conv_out.conv.weight"], tensors[f"{side}.conv_out.conv.bias"]
    taps = torch.tensor([0.0, 0.0, 1.0]) if side == "encoder" else torch.full((3,), 1 / 3)
    for colour, channel in enumerate(_PICTURE):
        last[colour, channel, :, 1, 1] = taps * gain
        bias[colour] = -middle * gain
    if side == "encoder":
        bias[LATENT:] = -30  # a posterior without spread
