"""Regression: the result itself is compared with the ground truth, first to be faithful, then to look right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from starvsr.data.pool import Batch
from starvsr.models.vgg16 import Vgg16
from starvsr.training.auxiliary_networks import AuxiliaryNetwork, example, features, teacher
from starvsr.training.examples import Examples
from starvsr.training.losses import charbonnier
from starvsr.training.model import TrainingModel
from starvsr.training.objectives.objective import AddExample, Auxiliary, Objective, StepOutput
from starvsr.training.objectives.tables import RegressionStage
from starvsr.training.objectives.terms import adversarial_term, critics, features_of, judged, pixel_terms
from starvsr.training.perceptual import (
    artefact_loss,
    draw_excerpt,
    grid_loss,
    halo_loss,
    pattern_loss,
    perceptual_distance,
    sharpened,
)


def regression(
    model: TrainingModel, batch: Batch, tables: RegressionStage, auxiliary: Auxiliary, rng: torch.Generator
) -> StepOutput:
    """Match the result of one evaluation to the ground truth; networks that have no latents are trained so.

    Pixel terms are computed on all of it; features and the critic's verdict on an excerpt drawn for the step. If there
    are examples, features are computed of the frames that these are of. The frequency loss is that without noise.
    """
    hq, gt, weights, own = model.upscale(batch["lq"]), batch["gt"], tables.losses, tables.regression
    target = sharpened(gt, own.sharpen_target) if own.sharpen_target else gt
    losses = pixel_terms(hq, target, weights, tables.frequency, torch.full((len(hq),), model.one_step_timestep))
    if weights.grid:
        losses["grid"] = weights.grid * grid_loss(hq, target)
    if weights.pattern:
        losses["pattern"] = weights.pattern * pattern_loss(hq, target)
    if weights.halo:
        losses["halo"] = weights.halo * halo_loss(hq, target)
    if weights.artefact:
        reference = _without_gradient(model, batch["lq"], auxiliary["teacher"])
        losses["artefact"] = weights.artefact * artefact_loss(hq, reference, gt)
    excerpt = draw_excerpt(hq, own.excerpt_side, own.excerpt_frames, rng)

    def part(clip: Tensor) -> Tensor:
        """Return what features are computed of."""
        if not weights.imitates:
            return excerpt.of(clip)
        return excerpt.window_of(_frames_at(clip, batch["example_frame"]))

    of_hq = features_of(auxiliary, part(hq), model.autocast)
    of_target = cache(lambda: features_of(auxiliary, part(target), model.autocast))
    if weights.imitation:
        of_example = features_of(auxiliary, excerpt.window_of(batch["example"]), model.autocast)
        losses["imitation"] = weights.imitation * perceptual_distance(of_hq, of_example)
    if weights.imitation_pixel:
        made = _frames_at(hq, batch["example_frame"])
        losses["imitation_pixel"] = weights.imitation_pixel * charbonnier(made, batch["example"])
    learning: dict[str, Callable[[], Tensor]] = {}
    sees_features = bool(weights.adversarial) and tables.adversarial.critic == "features"
    if weights.perceptual:
        losses["perceptual"] = weights.perceptual * perceptual_distance(of_hq, of_target())
    if weights.adversarial:
        cut = part if sees_features else excerpt.of
        known = sees_features and target is gt
        real = of_target() if known else judged(auxiliary, cut(gt), model.autocast)
        seen = of_hq if sees_features else cut(hq)
        verdict, learning = adversarial_term(auxiliary["critic"], seen, real, weights.adversarial)
        losses |= verdict
    return StepOutput(losses, learning)


def _frames_at(clip: Tensor, frames: Sequence[int]) -> Tensor:
    """Return one frame of each sample, [B, C, 1, H, W]."""
    return torch.stack([one[:, frame : frame + 1] for one, frame in zip(clip, frames, strict=True)])


@torch.no_grad()
def _without_gradient(model: TrainingModel, lq: Tensor, network: nn.Module) -> Tensor:
    return model.upscale(lq, network=network)


def _auxiliary(tables: RegressionStage) -> Sequence[AuxiliaryNetwork]:
    weights = tables.losses
    wanted = [
        *([teacher(tables.regression.teacher)] if weights.artefact or weights.imitates else []),
        *([features()] if weights.perceptual or weights.imitates else []),
        *([example(tables.regression.example)] if weights.imitates else []),
        *critics(weights, tables.adversarial),
    ]
    return list({one.name: one for one in wanted}.values())


def _examples(model: TrainingModel, tables: RegressionStage, auxiliary: Auxiliary) -> AddExample | None:
    if not tables.losses.imitates:
        return None
    return Examples(
        model=model,
        teacher=auxiliary["teacher"],
        example=auxiliary["example"],
        features=cast(Vgg16, auxiliary["features"]),
        shares=tables.regression.example_shares,
        sharpen=tables.regression.sharpen_teacher,
    )


REGRESSION = Objective(
    model=TrainingModel, tables=RegressionStage, compute=regression, auxiliary=_auxiliary, examples=_examples
)
