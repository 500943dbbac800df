"""What is trained: a network with the fixed parts that its training needs (codec, schedule, text encoder)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from starvsr.diffusion.schedules import NoiseSchedule, star_schedule
from starvsr.errors import DataError
from starvsr.models.codecs import Codec, PixelUnshuffleCodec
from starvsr.models.registry import ModelSpec, get_spec
from starvsr.models.star_encoder import StarEncoder, StarUNetConfig
from starvsr.models.star_small import StarSmall, keep_brightness
from starvsr.models.star_unet import StarUNet
from starvsr.pipelines.frames import enlarge
from starvsr.training.config import TrainConfig, check_value

ReadCaptions = Callable[[Sequence[str]], Tensor]
"""Turns B captions into text features [B, L, D]."""


class CaptionedStar(nn.Module):
    """A STAR network that is told what to see by text features instead of a learned context."""

    def __init__(self, config: StarUNetConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.unet = StarUNet(config)

    def forward(self, x: Tensor, timesteps: Tensor, hint: Tensor, context: Tensor) -> Tensor:
        """Return the velocity [B, C, T, h, w]; sizes as :class:`StarUNet` takes them."""
        out: Tensor = self.unet(x, timesteps, context, hint)
        return out


@dataclass
class Trainee:
    """The network and the fixed parts that its training needs."""

    spec: ModelSpec
    network: nn.Module
    """:class:`StarSmall`, or :class:`CaptionedStar` together with ``read_captions``."""
    codec: Codec
    schedule: NoiseSchedule
    autocast: torch.dtype | None = None
    """Type the network computes in; codec and losses stay in float32, where bfloat16 drowns fine differences."""
    read_captions: ReadCaptions | None = None
    helpers: dict[str, nn.Module] = field(default_factory=dict)
    """What stands beside the network in a stage: teacher, score, critic."""
    made: dict[str, Tensor] = field(default_factory=dict)
    """What the last step made, without gradient, for the helpers to learn from."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode pixels [B, 3, T, H, W] without gradient."""
        with torch.no_grad():
            return self.codec.encode(pixels)

    def encode_lq(self, lq: Tensor) -> Tensor:
        """Enlarge low-quality frames [B, 3, T, h, w] and encode them: the hint."""
        height, width = lq.shape[-2] * self.spec.scale, lq.shape[-1] * self.spec.scale
        return self.encode(enlarge(lq, height, width, self.spec.enlarge))

    def decode(self, latents: Tensor, frames_at_once: int = 0) -> Tensor:
        """Decode latents [B, C, T, h, w] with gradient.

        Args:
            latents: any number of frames.
            frames_at_once: frames decoded together, whose inner values are computed again in the backward pass
                instead of being kept: memory of one slice instead of the clip. 0 decodes all at once and keeps all.
        """
        if not frames_at_once:
            return self.codec.decode(latents)
        parts = latents.split(frames_at_once, dim=2)
        if not torch.is_grad_enabled():
            return torch.cat([self.codec.decode(part) for part in parts], dim=2)
        return torch.cat([checkpoint(self.codec.decode, part, use_reentrant=False) for part in parts], dim=2)

    def velocity(
        self, noisy: Tensor, t: Tensor, hint: Tensor, captions: Sequence[str] = (), *, network: nn.Module | None = None
    ) -> Tensor:
        """Return the velocity of noisy latents by the network (or another of its kind), float32."""
        chosen = network or self.network
        context = () if self.read_captions is None else (self.read_captions(captions).to(noisy.device),)
        with torch.autocast(noisy.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            velocity: Tensor = chosen(noisy, t.to(noisy.device), hint, *context)
        return velocity.float()

    def one_step_latents(self, lq: Tensor, captions: Sequence[str] = ()) -> Tensor:
        """Return the clean estimate in one step from the low-quality latents, as :meth:`StarSmall.one_step`."""
        step = self.spec.one_step_timestep
        alpha, sigma = float(self.schedule.alphas[step]), float(self.schedule.sigmas[step])
        hint = self.encode_lq(lq)
        velocity = self.velocity(hint / alpha, torch.full((len(hint),), step), hint, captions)
        return hint - sigma * (keep_brightness(velocity) if isinstance(self.codec, PixelUnshuffleCodec) else velocity)

    def one_step(self, lq: Tensor) -> Tensor:
        """Return the one-step result in pixels [B, 3, T, H, W]."""
        return self.codec.decode(self.one_step_latents(lq, [""] * len(lq)))


def network_config(unet: StarUNetConfig, changes: Mapping[str, Any]) -> StarUNetConfig:
    """Return the numbers of a network with a recipe's changes.

    Raises:
        DataError: a change names no number of the network, or has a value of the wrong type.
    """
    known = get_type_hints(StarUNetConfig)
    for name, value in changes.items():
        if name not in known:
            raise DataError(f"unknown recipe key network.{name}; known are {', '.join(sorted(known))}")
        check_value(f"network.{name}", value, known[name])
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in changes.items()}
    return dataclasses.replace(unet, **values)


def build_trainee(config: TrainConfig, device: torch.device | str = "cpu") -> Trainee:
    """Build what a recipe trains, with fresh weights from its seed."""
    spec = get_spec(config.model)
    spec = dataclasses.replace(spec, unet=network_config(spec.unet, config.network))
    torch.manual_seed(config.seed)
    network = StarSmall(spec.unet, spec.context_tokens).to(device)
    for module in network.modules():
        if isinstance(module, StarEncoder):
            module.activation_checkpointing = config.run.activation_checkpointing
    autocast = torch.bfloat16 if config.run.precision == "bf16" else None
    return Trainee(spec, network, PixelUnshuffleCodec(), star_schedule(), autocast)
