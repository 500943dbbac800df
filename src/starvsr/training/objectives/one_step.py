"""One step from the low-quality latents, compared with the ground truth."""

from __future__ import annotations

import torch
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.training.model import DiffusionModel
from starvsr.training.objectives.objective import Auxiliary, Objective, StepOutput
from starvsr.training.objectives.tables import OneStepStage, PixelStage
from starvsr.training.objectives.terms import adversarial_term, critics, judged, pixel_terms


def one_step(
    model: DiffusionModel, batch: Batch, tables: OneStepStage, auxiliary: Auxiliary, rng: torch.Generator
) -> StepOutput:
    """Match the one-step result to the ground truth: pixels, frequencies, structure, change over time."""
    made = model.one_step_latents(batch["lq"], batch["caption"], rng)
    hq = model.finished(model.decode_like(made, batch["gt"], tables.decode_slice), batch["lq"])
    return compare(hq, batch["gt"], tables, auxiliary, torch.full((len(hq),), model.one_step_timestep))


def compare(hq: Tensor, gt: Tensor, tables: PixelStage, auxiliary: Auxiliary, t: Tensor) -> StepOutput:
    """Return the terms of a decoded result, that of the critic included."""
    losses = pixel_terms(hq, gt, tables.losses, tables.frequency, t)
    if not tables.losses.adversarial:
        return StepOutput(losses)
    made, real = judged(auxiliary, hq), judged(auxiliary, gt)
    verdict, learning = adversarial_term(auxiliary["critic"], made, real, tables.losses.adversarial)
    return StepOutput(losses | verdict, learning)


ONE_STEP = Objective(
    model=DiffusionModel,
    tables=OneStepStage,
    compute=one_step,
    auxiliary=lambda tables: critics(tables.losses, tables.adversarial),
)
