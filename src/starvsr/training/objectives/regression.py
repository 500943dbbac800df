"""Regression: the result itself is compared with the ground truth, first to be faithful, then to look right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from starvsr.data.pool import Batch
from starvsr.training.auxiliary_networks import AuxiliaryNetwork, example, features, teacher
from starvsr.training.model import TrainingModel
from starvsr.training.objectives.objective import Auxiliary, Objective, StepOutput
from starvsr.training.objectives.tables import RegressionLosses, RegressionStage
from starvsr.training.objectives.terms import adversarial_term, critics, features_of, judged, pixel_terms
from starvsr.training.perceptual import (
    artefact_loss,
    draw_excerpt,
    grid_loss,
    nearest,
    pattern_loss,
    perceptual_distance,
    sharpened,
)


def regression(
    model: TrainingModel, batch: Batch, tables: RegressionStage, auxiliary: Auxiliary, rng: torch.Generator
) -> StepOutput:
    """Match the result of one evaluation to the ground truth; networks that have no latents are trained so.

    Pixel terms are computed on all of it; features and the critic's verdict on an excerpt drawn for the step. The
    frequency loss is that without noise.
    """
    hq, gt, weights, own = model.upscale(batch["lq"]), batch["gt"], tables.losses, tables.regression
    target = sharpened(gt, own.sharpen_target) if own.sharpen_target else gt
    losses = pixel_terms(hq, target, weights, tables.frequency, torch.full((len(hq),), model.one_step_timestep))
    if weights.grid:
        losses["grid"] = weights.grid * grid_loss(hq, target)
    if weights.pattern:
        losses["pattern"] = weights.pattern * pattern_loss(hq, target)
    excerpt = draw_excerpt(hq, own.excerpt_side, own.excerpt_frames, rng)
    reference = _without_gradient(model, batch["lq"], auxiliary["teacher"]) if _has_teacher(weights) else None
    if weights.artefact and reference is not None:
        losses["artefact"] = weights.artefact * artefact_loss(hq, reference, gt)
    of_hq = features_of(auxiliary, excerpt.of(hq), model.autocast)
    of_target = cache(lambda: features_of(auxiliary, excerpt.of(target), model.autocast))
    if weights.imitation and reference is not None:
        theirs = auxiliary["example"](batch["lq"][:, :, excerpt.frames])[..., excerpt.rows, excerpt.columns]
        ours = excerpt.of(reference).clamp(-1, 1)
        mixes = [
            features_of(auxiliary, torch.lerp(ours, theirs, share), model.autocast) for share in own.example_shares
        ]
        of_shown = mixes[0] if len(mixes) == 1 else nearest(mixes, of_target(), clips=len(hq))
        losses["imitation"] = weights.imitation * perceptual_distance(of_hq, of_shown)
    learning: dict[str, Callable[[], Tensor]] = {}
    sees_features = bool(weights.adversarial) and tables.adversarial.critic == "features"
    if weights.perceptual:
        losses["perceptual"] = weights.perceptual * perceptual_distance(of_hq, of_target())
    if weights.adversarial:
        made = of_hq if sees_features else excerpt.of(hq)
        known = sees_features and target is gt
        real = of_target() if known else judged(auxiliary, excerpt.of(gt), model.autocast)
        verdict, learning = adversarial_term(auxiliary["critic"], made, real, weights.adversarial)
        losses |= verdict
    return StepOutput(losses, learning)


def _has_teacher(weights: RegressionLosses) -> bool:
    return bool(weights.artefact or weights.imitation)


@torch.no_grad()
def _without_gradient(model: TrainingModel, lq: Tensor, network: nn.Module) -> Tensor:
    return model.upscale(lq, network=network)


def _auxiliary(tables: RegressionStage) -> Sequence[AuxiliaryNetwork]:
    weights = tables.losses
    wanted = [
        *([teacher(tables.regression.teacher)] if _has_teacher(weights) else []),
        *([features()] if weights.perceptual or weights.imitation else []),
        *([example(tables.regression.example)] if weights.imitation else []),
        *critics(weights, tables.adversarial),
    ]
    return list({one.name: one for one in wanted}.values())


REGRESSION = Objective(model=TrainingModel, tables=RegressionStage, compute=regression, auxiliary=_auxiliary)
