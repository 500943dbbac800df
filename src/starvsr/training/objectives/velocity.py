"""Velocity at random noise levels: a diffusion model, and STAR's way of training one."""

from __future__ import annotations

import torch
import torch.nn.functional as F

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
    schedule, gt = model.schedule, batch["gt"]
    hint, clean = model.encode_lq(batch["lq"], rng), model.encode(gt, rng)
    t = torch.randint(0, schedule.num_levels, (len(gt),), generator=rng)
    noise = unit_noise(clean, rng)
    noisy = schedule.add_noise(clean, noise, t)
    predicted = model.velocity(noisy, t, hint, batch["caption"])
    losses: Losses = {"velocity": F.mse_loss(predicted, schedule.velocity(clean, noise, t))}
    if tables.losses.frequency:
        with torch.set_grad_enabled(tables.frequency.gradient and torch.is_grad_enabled()):
            estimate = schedule.x0_from_velocity(noisy, predicted, t)
            decoded = model.decode_like(estimate, gt, tables.decode_slice)
            share = fade(t, tables.velocity.frequency_schedule, schedule.num_levels).to(gt.device)
            loss = share * frequency_loss(decoded, gt, t, tables.frequency)
        losses["df"] = tables.losses.frequency * loss.mean()
    return StepOutput(losses)


def _decodes(tables: VelocityStage) -> bool:
    return bool(tables.losses.frequency and tables.frequency.gradient)


VELOCITY = Objective(
    model=DiffusionModel, tables=VelocityStage, compute=velocity, teaches_all_levels=True, decodes=_decodes
)

STAR = Objective(
    model=DiffusionModel,
    tables=VelocityStage,
    compute=velocity,
    trains="control,liem",
    teaches_all_levels=True,
    decodes=_decodes,
)
"""The paper's: the same for the parts that steer a text-to-video model, which stays as it is."""
