"""Velocity at random noise levels: a diffusion model, and STAR's way of training one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.training.losses import fade
from starvsr.training.model import DiffusionModel
from starvsr.training.objectives.objective import Auxiliary, Losses, Objective, StepOutput
from starvsr.training.objectives.tables import VelocityStage
from starvsr.training.objectives.terms import frequency_loss, unit_noise


def velocity(
    model: DiffusionModel, batch: Batch, tables: VelocityStage, auxiliary: Auxiliary, rng: torch.Generator
) -> StepOutput:
    """Predict the velocity at a random timestep, plus the dynamic frequency loss of the decoded estimate.

    Source: STAR (arXiv 2501.02976): loss_v + b(t) L_DF with b(t) = beta (1 - t/T). Deviation from the released code:
    the decoder is part of the graph, so that the second term trains (``frequency.gradient = false`` leaves it out).
    """
    gt, num_levels = batch["gt"], model.schedule.num_levels
    hint, clean = model.encode_lq(batch["lq"], rng), model.encode(gt, rng)
    t = torch.randint(0, num_levels, (len(gt),), generator=rng)
    return StepOutput(velocity_losses(model, tables, Drawn(clean, hint, t, unit_noise(clean, rng)), batch))


@dataclass(frozen=True)
class Drawn:
    """What a step compares, once everything random is drawn.

    Attributes:
        clean: latents of the ground truth, [B, C, T, h, w].
        hint: latents of the enlarged input.
        t: int64 [B], timesteps.
        noise: unit noise that is added to ``clean``.
    """

    clean: Tensor
    hint: Tensor
    t: Tensor
    noise: Tensor


def velocity_losses(model: DiffusionModel, tables: VelocityStage, drawn: Drawn, batch: Batch) -> Losses:
    """Return the loss of the velocity, and the dynamic frequency loss if it has a weight.

    The error of the velocity is that of the clean estimate with the weight 1 / sigma^2.
    """
    schedule, gt, t = model.schedule, batch["gt"], drawn.t
    noisy = schedule.add_noise(drawn.clean, drawn.noise, t)
    predicted = model.velocity(noisy, t, drawn.hint, batch["caption"])
    losses: Losses = {"velocity": F.mse_loss(predicted, schedule.velocity(drawn.clean, drawn.noise, t))}
    if tables.losses.frequency:
        with torch.set_grad_enabled(tables.frequency.gradient and torch.is_grad_enabled()):
            estimate = schedule.x0_from_velocity(noisy, predicted, t)
            decoded = model.decode_like(estimate, gt, tables.decode_slice)
            share = fade(t, tables.velocity.frequency_schedule, schedule.num_levels).to(gt.device)
            loss = share * frequency_loss(decoded, gt, t, tables.frequency)
        losses["df"] = tables.losses.frequency * loss.mean()
    return losses


def decodes(tables: VelocityStage) -> bool:
    """Return whether gradients go through the decoder."""
    return bool(tables.losses.frequency and tables.frequency.gradient)


VELOCITY = Objective(
    model=DiffusionModel, tables=VelocityStage, compute=velocity, teaches_all_levels=True, decodes=decodes
)

STAR = Objective(
    model=DiffusionModel,
    tables=VelocityStage,
    compute=velocity,
    trains="control,liem",
    teaches_all_levels=True,
    decodes=decodes,
)
"""The paper's: the same for the parts that steer a text-to-video model, which stays as it is."""
