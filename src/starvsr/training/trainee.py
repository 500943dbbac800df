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
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.registry import get_entry, get_spec, names_of
from starvsr.families.star_i2vgen.sampling import FAST_STEPS
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.imaging.frames import enlarge, pad_reflect
from starvsr.models.codecs import Codec, PixelUnshuffleCodec
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.encoder import StarEncoder
from starvsr.models.star.small.model import StarSmall, keep_brightness
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.padding import minimal_padding
from starvsr.training.config import TrainConfig, check_value
from starvsr.training.freezing import constant_names
from starvsr.training.published import (
    CaptionedStar,
    Start,
    default_prompts,
    find_parts,
    load_codec,
    load_network,
    load_reader,
    settle,
    spec_with,
)

__all__ = ["CaptionedStar", "Trainee", "build_trainee", "network_config"]

ReadCaptions = Callable[[Sequence[str]], Tensor]
"""Turns B captions into text features [B, L, D]."""


@dataclass
class Trainee:
    """The network and the fixed parts that its training needs."""

    spec: StarSmallSpec | StarI2VGenSpec | CausalSRSpec
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
    prompts: tuple[str, str] | None = None
    """Texts that samples are made with, wanted and unwanted; None for a network that reads none."""
    validation_steps: int = 1
    """Steps of a sample unless the recipe says otherwise."""
    start: Start | None = None
    """What a published network began with."""

    def encode(self, pixels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Encode pixels [B, 3, T, H, W] without gradient, bordered by their reflection where the network asks for it.

        Args:
            pixels: in [-1, 1].
            rng: draws from the posterior, on the CPU, where the codec has one; None takes its mean.
        """
        codec = self.codec
        with torch.no_grad():
            if not isinstance(codec, TemporalVaeCodec):
                return codec.encode(pixels)
            border = minimal_padding(*pixels.shape[-2:], cell_px=codec.factor)
            height, width = border.padded_size(*pixels.shape[-2:])
            shape = (len(pixels), codec.channels, pixels.shape[2], height // codec.factor, width // codec.factor)
            draws = None if rng is None else torch.randn(shape, generator=rng).to(pixels.device)
            return codec.encode(pad_reflect(pixels, border), draws)

    def encode_lq(self, lq: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Enlarge low-quality frames [B, 3, T, h, w] and encode them: the hint; see :meth:`encode`."""
        height, width = lq.shape[-2] * self.spec.scale, lq.shape[-1] * self.spec.scale
        return self.encode(enlarge(lq, height, width, self.spec.enlarge), rng)

    def decode_like(self, latents: Tensor, pixels: Tensor, frames_at_once: int = 0) -> Tensor:
        """Decode latents with gradient and take the border off that :meth:`encode` added to ``pixels``."""
        return self.decode(latents, frames_at_once)[..., : pixels.shape[-2], : pixels.shape[-1]]

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

    def one_step_latents(
        self,
        lq: Tensor,
        captions: Sequence[str] = (),
        rng: torch.Generator | None = None,
        *,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Return the clean estimate in one step from the low-quality latents, as :meth:`StarSmall.one_step`."""
        step = self.spec.one_step_timestep
        alpha, sigma = float(self.schedule.alphas[step]), float(self.schedule.sigmas[step])
        hint = self.encode_lq(lq, rng)
        velocity = self.velocity(hint / alpha, torch.full((len(hint),), step), hint, captions, network=network)
        return hint - sigma * (keep_brightness(velocity) if isinstance(self.codec, PixelUnshuffleCodec) else velocity)

    def one_step(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return the one-step result in pixels [B, 3, T, H, W], by the network or another of its kind."""
        pixels = self.codec.decode(self.one_step_latents(lq, [""] * len(lq), network=network))
        return pixels[..., : lq.shape[-2] * self.spec.scale, : lq.shape[-1] * self.spec.scale]


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


def build_trainee(
    config: TrainConfig, device: torch.device | str = "cpu", *, start: str | None = None, digest: str | None = None
) -> Trainee:
    """Build what a recipe trains.

    Args:
        config: the recipe.
        device: where it computes. Under FSDP the network stays where its file is mapped until it is split.
        start: published models: what they start from, in place of the recipe's ``init``.
        digest: SHA-256 that the start must have.

    Raises:
        OptionError: an unknown model.
        DataError: ``init`` for a model that has none, or a start that has changed.
        WeightsError: published weights that are missing, damaged or of another model.
    """
    if isinstance(get_entry(config.model), StarI2VGenSpec):
        return _build_published(config, device, config.init if start is None else start, digest)
    if config.init or config.models:
        published = ", ".join(names_of(StarI2VGenSpec))
        raise DataError(f"recipe keys init and models are for {published}: use --start-from with a file")
    spec = get_spec(config.model, StarSmallSpec)
    spec = dataclasses.replace(spec, unet=network_config(spec.unet, config.network))
    torch.manual_seed(config.seed)
    network = StarSmall(spec.unet, spec.context_tokens).to(device)
    _recompute(network, config)
    return Trainee(spec, network, PixelUnshuffleCodec(), star_schedule(), _autocast(config))


def _build_published(config: TrainConfig, device: torch.device | str, word: str, digest: str | None) -> Trainee:
    spec = spec_with(config, network_config(get_spec(config.model, StarI2VGenSpec).unet, config.network))
    files = find_parts(config, word)
    network, start = load_network(spec.unet, word, files.get("unet"), seed=config.seed, digest=digest)
    constant = constant_names(network, config.stage)
    network.requires_grad_(True)
    autocast = _autocast(config)
    place = "cpu" if config.run.parallel == "fsdp" else device
    settle(network, constant if start.path else (), place, autocast or torch.float32)
    _recompute(network, config)
    reader = load_reader(files, config, device)
    return Trainee(
        spec,
        network,
        load_codec(files, config, device),
        star_schedule(),
        autocast,
        read_captions=reader,
        prompts=default_prompts(reader),
        validation_steps=FAST_STEPS,
        start=start,
    )


def _recompute(network: nn.Module, config: TrainConfig) -> None:
    for module in network.modules():
        if isinstance(module, StarEncoder):
            module.activation_checkpointing = config.run.activation_checkpointing


def _autocast(config: TrainConfig) -> torch.dtype | None:
    return torch.bfloat16 if config.run.precision == "bf16" else None
