"""STAR on CogVideoX as it trains: the transformer with LoRA, beside the frozen VAE and the features of captions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.families.star_cogvideox.codec import CogVideoXCodec
from starvsr.families.star_cogvideox.guidance import GuidanceCurve
from starvsr.families.star_cogvideox.noise import frame_noise
from starvsr.families.star_cogvideox.preprocess import minimal_border, prepared
from starvsr.families.star_cogvideox.sampling import denoiser, dpmpp_2m
from starvsr.families.star_cogvideox.schedule import CogVideoXSchedule
from starvsr.families.star_cogvideox.tiles import CELL_PX, latent_count
from starvsr.imaging.frames import pad_reflect
from starvsr.models.cogvideox import vae as causal_vae
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.lora import ALPHA, RANK, add_lora
from starvsr.models.cogvideox.transformer import StarCogVideoX
from starvsr.training.model import DiffusionModel

PREFIX = "transformer."
"""Of the transformer's tensors in the network that trains."""


@dataclass(frozen=True, kw_only=True)
class TrainedSizes(TransformerConfig):
    """Sizes of the transformer and of its LoRA: `[network]` of a recipe.

    Args:
        lora_rank: r of the attention projections' LoRA; 0 trains without.
        lora_alpha: LoRA is scaled by ``lora_alpha / lora_rank``.
    """

    lora_rank: int = RANK
    lora_alpha: float = ALPHA

    @classmethod
    def of(cls, config: TransformerConfig) -> TrainedSizes:
        """Return those of a transformer, with the LoRA of the release."""
        return cls(**dataclasses.asdict(config))

    @property
    def transformer(self) -> TransformerConfig:
        """Sizes of the transformer alone."""
        names = [field.name for field in dataclasses.fields(TransformerConfig)]
        return TransformerConfig(**{name: getattr(self, name) for name in names})


class TrainedCogVideoX(nn.Module):
    """The transformer behind the order of axes that objectives use.

    Args:
        sizes: Of transformer and LoRA.
    """

    def __init__(self, sizes: TrainedSizes) -> None:
        super().__init__()
        self.transformer = StarCogVideoX(sizes.transformer)
        add_lora(self.transformer, sizes.lora_rank, sizes.lora_alpha)

    def forward(self, x: Tensor, timesteps: Tensor, hint: Tensor, text: Tensor) -> Tensor:
        """Return the velocity [B, C, T, h, w].

        Args:
            x: noisy latents [B, C, T, h, w]; h and w are even.
            timesteps: int64 [B].
            hint: low-quality latents of the same shape.
            text: features of captions [B, L, D].
        """
        seen = torch.cat([x, hint], 1).transpose(1, 2)
        out: Tensor = self.transformer(seen, timesteps.float(), text)
        return out.transpose(1, 2)


class ClipCodec:
    """The frozen VAE: clips are encoded in one pass, and decoded with gradient in the pieces of `upscale`.

    Args:
        vae: AutoencoderKLCogVideoX; its decoder may have another number type than its encoder.
        device: Where it computes.
    """

    factor = CELL_PX

    def __init__(self, vae: Any, device: torch.device | str) -> None:
        self.vae = vae
        self._codec = CogVideoXCodec(vae, piece=None, device=device)
        self.channels = self._codec.channels

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return scaled latents [B, C, (T - 1) / 4 + 1, H / 8, W / 8], float32.

        Args:
            pixels: [B, 3, T, H, W] in [-1, 1]; T is 4k + 1, H and W are multiples of 8.
            noise: unit normal, of the latents' shape, for a sample of the posterior; None takes its mean.
        """
        parts = [
            self._codec.encode(clip[None], None if noise is None else noise[index : index + 1])
            for index, clip in enumerate(pixels)
        ]
        return torch.cat(parts)

    def decode(self, latents: Tensor, *, recompute: bool = False) -> Tensor:
        """Return pixels [B, 3, T, H, W] of scaled latents, about [-1, 1], float32.

        Args:
            latents: [B, C, t, h, w].
            recompute: compute each piece again in the backward pass instead of keeping what is in it.
        """
        dtype = next(self.vae.decoder.parameters()).dtype
        scaled = (latents / self._codec.factor).to(dtype)
        return causal_vae.decode(self.vae, scaled, recompute=recompute).float()


@dataclass(kw_only=True)
class StarCogVideoXModel(DiffusionModel):
    """:class:`TrainedCogVideoX` with VAE and features of captions."""

    codec: ClipCodec
    texts: Callable[[Sequence[str | None]], Tensor]
    """Features [B, L, D] of captions; zeros for None."""
    read_ahead: Callable[[Mapping[str, str]], None]
    """Computes the features of the captions of all clips."""
    steps: CogVideoXSchedule
    """What samples are made by; ``schedule`` is its table as the network knows it."""
    reads_ahead: bool = True

    def encode(self, pixels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Encode pixels in one pass, bordered by their reflection to whole tokens."""
        return self._encode(pad_reflect(pixels, minimal_border(*pixels.shape[-2:])), rng)

    def encode_lq(self, lq: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Enlarge and encode low-quality frames as `upscale` does."""
        border = minimal_border(lq.shape[-2] * self.scale, lq.shape[-1] * self.scale)
        return self._encode(prepared(lq, self.scale, border), rng)

    @torch.no_grad()
    def _encode(self, pixels: Tensor, rng: torch.Generator | None) -> Tensor:
        rows, columns = (side // CELL_PX for side in pixels.shape[-2:])
        shape = len(pixels), self.codec.channels, latent_count(pixels.shape[2]), rows, columns
        draws = None if rng is None else torch.randn(shape, generator=rng).to(pixels.device)
        return self.codec.encode(pixels, draws)

    def decode(self, latents: Tensor, frames_at_once: int = 0) -> Tensor:
        """Decode latents with gradient; any ``frames_at_once`` but 0 recomputes the pieces of the causal decoder."""
        return self.codec.decode(latents, recompute=bool(frames_at_once))

    def context(self, captions: Sequence[str | None]) -> tuple[Tensor, ...]:
        """Return text features [B, L, D]."""
        return (self.texts(captions),)

    def read_captions(self, captions: Mapping[str, str]) -> None:
        """Compute the features of all captions, so that the text encoder need not be in memory beside the network."""
        self.read_ahead(captions)

    def upscale(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return the result of one evaluation, from noise alone; see :meth:`TrainingModel.upscale`."""
        return self._sampled(lq, 1, 0, network)

    def restore(self, lq: Tensor, num_steps: int = 1, seed: int = 0) -> Tensor:
        """Sample as `upscale` does without a prompt; see the base class."""
        return self._sampled(lq, num_steps, seed, None)

    def _sampled(self, lq: Tensor, num_steps: int, seed: int, network: nn.Module | None) -> Tensor:
        hint, steps = self.encode_lq(lq), self.steps.steps(num_steps)
        noise = frame_noise(tuple(hint.shape), seed=seed, first_frame=0, device=hint.device)

        def velocity(x: Tensor, timestep: int, with_prompt: bool) -> Tensor:
            t = torch.full((len(x),), timestep)
            return self.velocity(x, t, hint, ["" if with_prompt else None] * len(x), network=network)

        denoise = denoiser(velocity, steps, GuidanceCurve())
        latents = dpmpp_2m(denoise, noise("start"), steps, noise=noise)
        return self._without_border(self.decode(latents), lq)

    def blocks(self) -> list[nn.Module]:
        """List the blocks of the transformer."""
        network: Any = self.network
        return list(network.transformer.transformer_blocks)


def network_schedule(steps: CogVideoXSchedule) -> NoiseSchedule:
    """Return the 1000 noise levels that the network learns: what is left of the signal falls to exactly nothing."""
    alphas = steps.table().double()
    return NoiseSchedule(alphas, (1 - alphas**2).sqrt())
