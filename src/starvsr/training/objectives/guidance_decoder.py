"""Guidance decoder: a small decoder learns what the frozen one makes of the sampler's clean estimates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.training.guidance_decoder import GuidanceDecoderModel
from starvsr.training.objectives.objective import Auxiliary, Objective, StepOutput
from starvsr.training.objectives.tables import GuidanceDecoderStage


def gradient_error(pictures: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of the differences to the right and lower neighbours, both [B, C, H, W]."""
    return F.l1_loss(pictures.diff(dim=-1), targets.diff(dim=-1)) + F.l1_loss(
        pictures.diff(dim=-2), targets.diff(dim=-2)
    )


def guidance_decoder(
    model: GuidanceDecoderModel,
    batch: Batch,
    tables: GuidanceDecoderStage,
    auxiliary: Auxiliary,
    rng: torch.Generator,
) -> StepOutput:
    """Decode clean estimates of random timesteps by both decoders and compare the pictures; frames count one by one."""
    lq, gt = (batch[name].transpose(1, 2).flatten(0, 1) for name in ("lq", "gt"))
    count, _, height, width = lq.shape
    t = torch.randint(0, model.schedule.num_levels, (count,), generator=rng)
    shape = (2, count, model.latent_channels, height, width)
    posterior, noise = torch.randn(shape, generator=rng).to(lq.device).unbind()
    latents = model.estimates(gt, lq, t, posterior, noise)
    targets, pictures = model.decode(latents), model.pictures(latents)
    losses = {}
    if tables.losses.pixel:
        losses["pixel"] = tables.losses.pixel * F.l1_loss(pictures, targets)
    if tables.losses.gradient:
        losses["gradient"] = tables.losses.gradient * gradient_error(pictures, targets)
    return StepOutput(losses)


GUIDANCE_DECODER = Objective(
    model=GuidanceDecoderModel,
    tables=GuidanceDecoderStage,
    compute=guidance_decoder,
    decodes=lambda tables: False,
)
