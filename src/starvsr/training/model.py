"""What training asks of a model: the protocol that every family implements (:mod:`starvsr.training.families`).

The loop, checkpoints, freezing, validation and the memory plan know no more than :class:`TrainingModel`; objectives
that work on latents and noise levels know :class:`DiffusionModel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from starvsr.diffusion.denoiser import Predict, from_velocity
from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.samplers import dpmpp_2m_sde
from starvsr.diffusion.schedules import NoiseSchedule, star_schedule
from starvsr.imaging.frames import enlarge
from starvsr.models.codecs import Codec
from starvsr.models.weights import load_weights
from starvsr.training.parts import NamedParts


@dataclass(frozen=True)
class Start:
    """What a network began with.

    Args:
        word: The recipe's word for it: "venhancer", a model, a path (whole), or "" for fresh weights.
        path: The file or folder; None for fresh weights.
        digest: SHA-256 of the file; None for folders and fresh weights.
        new: Names of tensors that the file did not have.
    """

    word: str = ""
    path: Path | None = None
    digest: str | None = None
    new: tuple[str, ...] = ()


@dataclass(kw_only=True)
class TrainingModel(ABC):
    """A network that trains, with the fixed parts that its training needs."""

    name: str
    """Of the model in the registry."""
    scale: int
    """Output pixels per input pixel along each side."""
    network: nn.Module
    parts: NamedParts
    """Parts of the network that stages name."""
    one_step_timestep: int = 0
    """Timestep at which one evaluation gives the result; 0 for a network that knows no noise."""
    autocast: torch.dtype | None = None
    """Type the network computes in; codec and losses stay in float32, where bfloat16 drowns fine differences."""
    start: Start | None = None
    """What it began with, where what never trains stays in that file and is left out of checkpoints."""
    grown: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Sizes in which the network is larger than the weights it began with, by name: theirs and its own."""
    reads_ahead: bool = False
    """Whether captions are prepared before the first step (:meth:`read_captions`)."""
    validation_steps: int = 1
    """Steps of a validation sample unless the recipe says otherwise."""

    @abstractmethod
    def upscale(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return the result of one evaluation, with gradient.

        Args:
            lq: [B, 3, T, h, w] in [-1, 1].
            network: another one of the same kind in the place of the trained one.

        Returns:
            float32 [B, 3, T, scale * h, scale * w], not clamped.
        """

    def restore(self, lq: Tensor, num_steps: int = 1, seed: int = 0) -> Tensor:
        """Return what `starvsr upscale` would make of a clip, as :meth:`upscale` does; for validation.

        Args:
            lq: [1, 3, T, h, w] in [-1, 1].
            num_steps: evaluations of the network.
            seed: of the noise.
        """
        return self.upscale(lq)

    def blocks(self) -> list[nn.Module]:
        """List the parts that run one after the other: FSDP makes each whole while it runs."""
        return []

    def load(self, network: nn.Module, path: Path) -> None:
        """Fill a network of the same kind from exported weights.

        Raises:
            WeightsError: the file is missing, damaged or of another network.
        """
        load_weights(network, path)

    def save_readable(self, folder: Path, average: dict[str, Tensor]) -> None:  # noqa: B027 - optional
        """Write what a checkpoint is to hold for programs other than this one; nothing for most models.

        Args:
            folder: of this checkpoint; made when there is something to write.
            average: the averaged weights.

        Raises:
            OutputNotWritableError: the disk is full or closed to us.
        """

    def context(self, captions: Sequence[str | None]) -> tuple[Tensor, ...]:
        """Return what the network is given beside its other inputs for captions; nothing where it reads none.

        Args:
            captions: None for one that was left out on purpose, "" for a clip without one.
        """
        return ()

    def read_captions(self, captions: Mapping[str, str]) -> None:  # noqa: B027 - optional
        """Prepare the captions of all clips, before the first step; asked for if ``reads_ahead`` is set.

        Args:
            captions: By the names of the clips' files.

        Raises:
            DataError: one is too long; its clip is named.
        """


@dataclass(kw_only=True)
class DiffusionModel(TrainingModel):
    """A network that predicts velocities of noisy latents under the control of the low-quality clip.

    ``network(noisy, timesteps, hint, *context)`` with latents [B, C, T, h, w] and int64 timesteps [B].
    """

    codec: Codec
    schedule: NoiseSchedule = field(default_factory=star_schedule)
    enlarge_mode: str = "bicubic"
    """How the input is brought to output size before encoding."""

    @abstractmethod
    def encode(self, pixels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Encode pixels [B, 3, T, H, W] in [-1, 1] without gradient.

        Args:
            pixels: of any size; what is not a whole number of cells is bordered.
            rng: draws from the posterior, on the CPU, where the codec has one; None takes its mean.
        """

    def encode_lq(self, lq: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Enlarge low-quality frames [B, 3, T, h, w] and encode them: the hint; see :meth:`encode`."""
        height, width = lq.shape[-2] * self.scale, lq.shape[-1] * self.scale
        return self.encode(enlarge(lq, height, width, self.enlarge_mode), rng)

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

    def decode_like(self, latents: Tensor, pixels: Tensor, frames_at_once: int = 0) -> Tensor:
        """Decode latents with gradient and take the border off that :meth:`encode` added to ``pixels``."""
        return self.decode(latents, frames_at_once)[..., : pixels.shape[-2], : pixels.shape[-1]]

    def velocity(
        self,
        noisy: Tensor,
        t: Tensor,
        hint: Tensor,
        captions: Sequence[str | None] = (),
        *,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Return the velocity of noisy latents by the network (or another of its kind), float32."""
        chosen = network or self.network
        context = [features.to(noisy.device) for features in self.context(captions)]
        with torch.autocast(noisy.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            velocity: Tensor = chosen(noisy, t.to(noisy.device), hint, *context)
        return velocity.float()

    def one_step_latents(
        self,
        lq: Tensor,
        captions: Sequence[str | None] = (),
        rng: torch.Generator | None = None,
        *,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Return the clean estimate in one step from the low-quality latents."""
        step = self.one_step_timestep
        alpha, sigma = float(self.schedule.alphas[step]), float(self.schedule.sigmas[step])
        hint = self.encode_lq(lq, rng)
        velocity = self.velocity(hint / alpha, torch.full((len(hint),), step), hint, captions, network=network)
        return hint - sigma * self.one_step_change(velocity)

    def one_step_change(self, velocity: Tensor) -> Tensor:
        """Return what of a velocity the one step takes: all of it, unless the family holds something back."""
        return velocity

    def finished(self, pixels: Tensor, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return what is the result of decoded pixels: these, unless something follows the decoder.

        Args:
            pixels: [B, 3, T, scale * h, scale * w].
            lq: [B, 3, T, h, w].
            network: as in :meth:`TrainingModel.upscale`.
        """
        return pixels

    def upscale(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return the one-step result; see :meth:`TrainingModel.upscale`."""
        pixels = self.codec.decode(self.one_step_latents(lq, [""] * len(lq), network=network))
        return self.finished(self._without_border(pixels, lq), lq, network)

    def levels(self, num_steps: int) -> Tensor:
        """Return the noise levels of several steps, one more than evaluations."""
        return self.schedule.normal(num_steps)

    def predict(self, hint: Tensor) -> Predict:
        """Return the prediction that samples are drawn with, under the control of a hint."""
        return self._reading("", hint)

    def _reading(self, text: str, hint: Tensor) -> Predict:
        return lambda x, t: self.velocity(x, t, hint, [text] * len(x))

    def restore(self, lq: Tensor, num_steps: int = 1, seed: int = 0) -> Tensor:
        """Start from the low-quality latents (one step) or their noised form (several); see the base class."""
        if num_steps == 1:
            return self.upscale(lq)
        schedule, levels = self.schedule, self.levels(num_steps)
        hint = self.encode_lq(lq)
        noise = FrameNoise(tuple(hint.shape), seed=seed, first_frame=0, device=hint.device)
        start = schedule.add_noise(hint, noise("start"), schedule.integer_timestep_at(levels[:1]))
        latents = dpmpp_2m_sde(from_velocity(self.predict(hint), schedule), start, levels, noise=noise)
        return self.finished(self._without_border(self.decode(latents), lq), lq)

    def _without_border(self, pixels: Tensor, lq: Tensor) -> Tensor:
        return pixels[..., : lq.shape[-2] * self.scale, : lq.shape[-1] * self.scale]
