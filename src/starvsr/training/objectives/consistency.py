"""Consistency distillation: a student that jumps from any noise level to the end of a teacher's path."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from starvsr.data.pool import Batch
from starvsr.training.auxiliary_networks import AuxiliaryNetwork, teacher
from starvsr.training.losses import charbonnier
from starvsr.training.model import DiffusionModel
from starvsr.training.objectives.objective import Auxiliary, Losses, Objective, StepOutput
from starvsr.training.objectives.one_step import compare
from starvsr.training.objectives.tables import ConsistencyStage
from starvsr.training.objectives.terms import critics, unit_noise


def consistency(
    model: DiffusionModel, batch: Batch, tables: ConsistencyStage, auxiliary: Auxiliary, rng: torch.Generator
) -> StepOutput:
    """Learn to jump from any noise level to where the teacher's path ends, so that few evaluations suffice.

    The teacher takes one step of its path from t to t - gap; the network's clean estimate at t should equal its own
    (without gradient) at t - gap, and near t = 0 the teacher's.
    Source: consistency models (arXiv 2303.01469), distillation with a deterministic step.
    """
    schedule, gt, captions, gap = model.schedule, batch["gt"], batch["caption"], tables.distillation.gap
    hint, clean = model.encode_lq(batch["lq"], rng), model.encode(gt, rng)
    t = torch.randint(gap, schedule.num_levels - 1, (len(gt),), generator=rng)
    earlier = t - gap
    noisy = schedule.add_noise(clean, unit_noise(clean, rng), t)
    with torch.no_grad():
        slope = model.velocity(noisy, t, hint, captions, network=auxiliary["teacher"])
        ends = schedule.x0_from_velocity(noisy, slope, t)
        on_path = schedule.add_noise(ends, schedule.eps_from_velocity(noisy, slope, t), earlier)
        wanted = schedule.x0_from_velocity(on_path, model.velocity(on_path, earlier, hint, captions), earlier)
        first = (earlier < gap).view(-1, 1, 1, 1, 1).to(wanted.device)
        wanted = torch.where(first, ends, wanted)
    estimate = schedule.x0_from_velocity(noisy, model.velocity(noisy, t, hint, captions), t)
    losses: Losses = {"consistency": tables.losses.distillation * charbonnier(estimate, wanted, 1e-2)}
    if not tables.losses.compare:
        return StepOutput(losses)
    hq = model.finished(model.decode_like(estimate, gt, tables.decode_slice), batch["lq"])
    compared = compare(hq, gt, tables, auxiliary, t)
    return StepOutput(losses | compared.losses, compared.auxiliary_losses)


def _auxiliary(tables: ConsistencyStage) -> Sequence[AuxiliaryNetwork]:
    return [teacher(tables.distillation.teacher), *critics(tables.losses, tables.adversarial)]


CONSISTENCY = Objective(
    model=DiffusionModel,
    tables=ConsistencyStage,
    compute=consistency,
    auxiliary=_auxiliary,
    teaches_all_levels=True,
)
