"""What a training step computes: one function per objective, from a batch to a loss and its parts.

Other families (CogVideoX with LIEM and LoRA, StableVSR's temporal conditioning) add theirs to ``OBJECTIVES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.models.codecs import Codec
from starvsr.models.registry import ModelSpec
from starvsr.models.star_small import StarSmall
from starvsr.pipelines.frames import enlarge
from starvsr.training.config import StageConfig
from starvsr.training.losses import (
    charbonnier,
    dynamic_frequency_loss,
    negative_psnr,
    structural_dissimilarity,
    temporal_difference,
)

Parts = dict[str, Tensor]


@dataclass
class Trainee:
    """The network and the fixed parts that its training needs."""

    spec: ModelSpec
    network: StarSmall
    codec: Codec
    schedule: NoiseSchedule
    autocast: torch.dtype | None = None
    """Type the network computes in; codec and losses stay in float32, where bfloat16 drowns fine differences."""

    def encode_lq(self, lq: Tensor) -> Tensor:
        """Enlarge low-quality frames [B, 3, T, h, w] and encode them: the hint."""
        height, width = lq.shape[-2] * self.spec.scale, lq.shape[-1] * self.spec.scale
        return self.codec.encode(enlarge(lq, height, width, self.spec.enlarge))

    def _cast(self) -> torch.autocast:
        return torch.autocast("cpu", self.autocast or torch.bfloat16, enabled=self.autocast is not None)

    def velocity(self, noisy: Tensor, t: Tensor, hint: Tensor) -> Tensor:
        """Return the network's velocity of noisy latents, float32."""
        with self._cast():
            velocity: Tensor = self.network(noisy, t, hint)
        return velocity.float()

    def one_step(self, lq: Tensor) -> Tensor:
        """Return the one-step result in pixels [B, 3, T, H, W]."""
        t = self.spec.one_step_timestep
        alpha, sigma = float(self.schedule.alphas[t]), float(self.schedule.sigmas[t])
        hint = self.encode_lq(lq)
        with self._cast():
            latents = self.network.one_step(hint, alpha, sigma, t)
        return self.codec.decode(latents.float())


def velocity(trainee: Trainee, lq: Tensor, gt: Tensor, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Predict the velocity at a random timestep, plus the dynamic frequency loss of the decoded estimate.

    Source: STAR (arXiv 2501.02976): loss_v + beta b(t) L_DF with b(t) = 1 - t/T. Deviation from the released
    code: the decoder is part of the graph, so that the second term trains.
    """
    schedule = trainee.schedule
    hint, clean = trainee.encode_lq(lq), trainee.codec.encode(gt)
    t = torch.randint(0, schedule.num_levels, (len(lq),), generator=rng)
    noise = torch.randn(clean.shape, generator=rng)
    noisy = schedule.add_noise(clean, noise, t)
    predicted = trainee.velocity(noisy, t, hint)
    parts = {"velocity": F.mse_loss(predicted, schedule.velocity(clean, noise, t))}
    if stage.df_weight:
        estimate = trainee.codec.decode(schedule.x0_from_velocity(noisy, predicted, t))
        loss = _frequency_loss(estimate, gt, t, stage)
        parts["df"] = stage.df_weight * ((1 - t / (schedule.num_levels - 1)) * loss).mean()
    return parts


def one_step(trainee: Trainee, lq: Tensor, gt: Tensor, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Match the one-step result to the ground truth: pixels, frequencies, structure, change over time."""
    hq = trainee.one_step(lq)
    t = torch.full((len(lq),), trainee.spec.one_step_timestep)
    parts = {"pixel": stage.pixel_weight * charbonnier(hq, gt)}
    if stage.psnr_weight:
        parts["psnr"] = stage.psnr_weight * negative_psnr(hq, gt)
    if stage.df_weight:
        parts["df"] = stage.df_weight * _frequency_loss(hq, gt, t, stage).mean()
    if stage.structure_weight:
        parts["structure"] = stage.structure_weight * structural_dissimilarity(hq, gt)
    if stage.temporal_weight:
        parts["temporal"] = stage.temporal_weight * temporal_difference(hq, gt)
    return parts


def _frequency_loss(estimate: Tensor, gt: Tensor, t: Tensor, stage: StageConfig) -> Tensor:
    return dynamic_frequency_loss(
        estimate,
        gt,
        t,
        alpha=stage.df_alpha,
        separation=stage.df_separation,
        weighting=stage.df_weighting,
    )


Objective = Callable[[Trainee, Tensor, Tensor, StageConfig, torch.Generator], Parts]
OBJECTIVES: dict[str, Objective] = {"velocity": velocity, "one-step": one_step}
