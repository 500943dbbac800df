"""Distribution matching distillation: a one-step student whose results the teacher finds likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.training.auxiliary_networks import AuxiliaryNetwork, score, teacher
from starvsr.training.model import DiffusionModel
from starvsr.training.objectives.objective import Auxiliary, Losses, Objective, StepOutput
from starvsr.training.objectives.one_step import compare
from starvsr.training.objectives.tables import MatchingStage
from starvsr.training.objectives.terms import critics, unit_noise

_LEAST_NOISE, _MOST_NOISE = 0.02, 0.98
"""Range of noise, as shares of the timesteps, at which scores are compared."""


def distribution_matching(
    model: DiffusionModel, batch: Batch, tables: MatchingStage, auxiliary: Auxiliary, rng: torch.Generator
) -> StepOutput:
    """Move one-step results to where the teacher finds them likely and a model of the student does not.

    Both are asked for the clean estimate of the noised result; their difference is the direction. The student's
    model ("score") learns along from the student's results.
    Source: distribution matching distillation (arXiv 2311.18828), with our pixel terms in place of its regression.
    """
    schedule, captions = model.schedule, batch["caption"]
    hint = model.encode_lq(batch["lq"], rng)
    made = model.one_step_latents(batch["lq"], captions, rng)
    low, high = (round(share * schedule.num_levels) for share in (_LEAST_NOISE, _MOST_NOISE))
    t = torch.randint(low, high, (len(made),), generator=rng)
    with torch.no_grad():
        noisy = schedule.add_noise(made, unit_noise(made, rng), t)
        likely, own = (
            schedule.x0_from_velocity(noisy, model.velocity(noisy, t, hint, captions, network=auxiliary[name]), t)
            for name in ("teacher", "score")
        )
        size = (made - likely).abs().flatten(1).mean(1).clamp(min=1e-4).view(-1, 1, 1, 1, 1)
        wanted = made - (own - likely) / size
    losses: Losses = {"matching": tables.losses.distillation * 0.5 * F.mse_loss(made, wanted)}
    hq = model.finished(model.decode_like(made, batch["gt"], tables.decode_slice), batch["lq"])
    compared = compare(hq, batch["gt"], tables, auxiliary, torch.full((len(hq),), model.one_step_timestep))
    latents = made.detach()

    def score_loss() -> Tensor:
        t = torch.randint(0, schedule.num_levels, (len(latents),), generator=rng)
        noise = unit_noise(latents, rng)
        noisy = schedule.add_noise(latents, noise, t)
        guess = model.velocity(noisy, t, hint, captions, network=auxiliary["score"])
        return F.mse_loss(guess, schedule.velocity(latents, noise, t))

    return StepOutput(losses | compared.losses, {**compared.auxiliary_losses, "score": score_loss})


def _auxiliary(tables: MatchingStage) -> Sequence[AuxiliaryNetwork]:
    own = tables.distillation
    both = [teacher(own.teacher), score(own.teacher, own.score_lr)]
    return [*both, *critics(tables.losses, tables.adversarial)]


DISTRIBUTION_MATCHING = Objective(
    model=DiffusionModel, tables=MatchingStage, compute=distribution_matching, auxiliary=_auxiliary
)
