"""Regression: the result itself is compared with the ground truth, first to be faithful, then to look right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.models.vgg16 import Vgg16
from starvsr.training.auxiliary_networks import AuxiliaryNetwork, example, features, teacher
from starvsr.training.model import TrainingModel
from starvsr.training.objectives.objective import Auxiliary, Objective, StepOutput
from starvsr.training.objectives.tables import RegressionStage
from starvsr.training.objectives.terms import adversarial_term, critics, pixel_terms
from starvsr.training.perceptual import (
    artefact_loss,
    draw_excerpt,
    grid_loss,
    imitation_loss,
    pattern_loss,
    perceptual_distance,
    sharpened,
    vgg_features,
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
    if weights.artefact:
        with torch.no_grad():
            reference = model.upscale(batch["lq"], network=auxiliary["teacher"])
        losses["artefact"] = weights.artefact * artefact_loss(hq, reference, gt)
    of_hq, of_target = (_features_of(auxiliary, excerpt.of(clip), model.autocast) for clip in (hq, target))
    if weights.perceptual:
        losses["perceptual"] = weights.perceptual * perceptual_distance(of_hq, of_target)
    if weights.imitation:
        with torch.no_grad():
            shown = auxiliary["example"](batch["lq"][:, :, excerpt.frames])[..., excerpt.rows, excerpt.columns]
            of_shown = _features_of(auxiliary, shown, model.autocast)
        losses["imitation"] = weights.imitation * imitation_loss(of_hq, of_shown, of_target)
    learning: dict[str, Callable[[], Tensor]] = {}
    if weights.adversarial:
        made, real = excerpt.of(hq), excerpt.of(gt)
        if tables.adversarial.critic == "features":
            plain = of_target if target is gt else _features_of(auxiliary, real, model.autocast)
            verdict, learning = adversarial_term(auxiliary["critic"], of_hq, plain, weights.adversarial)
        else:
            verdict, learning = adversarial_term(auxiliary["critic"], made, real, weights.adversarial)
        losses |= verdict
    return StepOutput(losses, learning)


def _features_of(auxiliary: Auxiliary, clip: Tensor, autocast: torch.dtype | None) -> list[Tensor]:
    """Features of the frames of a clip; none where no term of the stage looks at them."""
    network = cast(Vgg16 | None, auxiliary.get("features"))
    return [] if network is None else vgg_features(network, clip, autocast=autocast)


def _auxiliary(tables: RegressionStage) -> Sequence[AuxiliaryNetwork]:
    weights = tables.losses
    wanted = [
        *([teacher(tables.regression.teacher)] if weights.artefact else []),
        *([features()] if weights.perceptual or weights.imitation else []),
        *([example(tables.regression.example)] if weights.imitation else []),
        *critics(weights, tables.adversarial),
    ]
    return list({one.name: one for one in wanted}.values())


REGRESSION = Objective(model=TrainingModel, tables=RegressionStage, compute=regression, auxiliary=_auxiliary)
