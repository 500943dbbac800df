"""What a training step computes, and which part of the network learns from it.

One :class:`Objective` per name in ``OBJECTIVES``; another family (CogVideoX with LIEM and LoRA, StableVSR's temporal
conditioning) adds its own entry here and its network to :mod:`starvsr.training.trainee`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.data.pool import Batch
from starvsr.models.vgg16 import Vgg16
from starvsr.training.config import StageConfig
from starvsr.training.discriminator import PatchCritic, adversarial_loss, critic_loss
from starvsr.training.freezing import choose_trained
from starvsr.training.losses import (
    charbonnier,
    dynamic_frequency_loss,
    fade,
    negative_psnr,
    structural_dissimilarity,
    temporal_difference,
)
from starvsr.training.perceptual import artefact_loss, draw_excerpt, grid_loss, perceptual_distance, sharpened
from starvsr.training.trainee import Trainee
from starvsr.training.two_heads import TwoHeadCritic

__all__ = ["OBJECTIVES", "Objective", "Parts", "choose_trained", "helper_losses", "helper_names", "new_critic"]

Parts = dict[str, Tensor]
Compute = Callable[[Trainee, Batch, StageConfig, torch.Generator], Parts]

_LEAST_NOISE, _MOST_NOISE = 0.02, 0.98
"""Range of noise, as shares of the timesteps, at which distribution matching compares scores."""


@dataclass(frozen=True)
class Objective:
    """One way to train.

    Attributes:
        compute: batch in, named losses out; their sum is minimised.
        helpers: what has to stand beside the network: "teacher" (frozen), "score" (learns along).
    """

    compute: Compute
    helpers: tuple[str, ...] = ()


def velocity(trainee: Trainee, batch: Batch, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Predict the velocity at a random timestep, plus the dynamic frequency loss of the decoded estimate.

    Source: STAR (arXiv 2501.02976): loss_v + b(t) L_DF with b(t) = beta (1 - t/T). Deviation from the released code:
    the decoder is part of the graph, so that the second term trains (``df_gradient = false`` leaves it out again).
    """
    schedule, gt = trainee.schedule, batch["gt"]
    hint, clean = trainee.encode_lq(batch["lq"], rng), trainee.encode(gt, rng)
    t = torch.randint(0, schedule.num_levels, (len(gt),), generator=rng)
    noise = _noise(clean, rng)
    noisy = schedule.add_noise(clean, noise, t)
    predicted = trainee.velocity(noisy, t, hint, batch["caption"])
    parts = {"velocity": F.mse_loss(predicted, schedule.velocity(clean, noise, t))}
    if stage.df_weight:
        with torch.set_grad_enabled(stage.df_gradient and torch.is_grad_enabled()):
            estimate = trainee.decode_like(schedule.x0_from_velocity(noisy, predicted, t), gt, stage.decode_slice)
            loss = fade(t, stage.df_schedule, schedule.num_levels).to(gt.device) * _frequency_loss(
                estimate, gt, t, stage
            )
        parts["df"] = stage.df_weight * loss.mean()
    return parts


def one_step(trainee: Trainee, batch: Batch, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Match the one-step result to the ground truth: pixels, frequencies, structure, change over time."""
    made = trainee.one_step_latents(batch["lq"], batch["caption"], rng)
    hq = trainee.decode_like(made, batch["gt"], stage.decode_slice)
    return _pixel_terms(trainee, hq, batch["gt"], stage)


def consistency(trainee: Trainee, batch: Batch, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Learn to jump from any noise level to where the teacher's path ends, so that few evaluations suffice.

    The teacher takes one step of its path from t to t - gap; the network's clean estimate at t shall equal its own
    (without gradient) at t - gap, and near t = 0 the teacher's.
    Source: consistency models (arXiv 2303.01469), distillation with a deterministic step.
    """
    schedule, gt, captions = trainee.schedule, batch["gt"], batch["caption"]
    hint, clean = trainee.encode_lq(batch["lq"], rng), trainee.encode(gt, rng)
    t = torch.randint(stage.distillation_gap, schedule.num_levels - 1, (len(gt),), generator=rng)
    earlier = t - stage.distillation_gap
    noisy = schedule.add_noise(clean, _noise(clean, rng), t)
    with torch.no_grad():
        slope = trainee.velocity(noisy, t, hint, captions, network=trainee.helpers["teacher"])
        ends = schedule.x0_from_velocity(noisy, slope, t)
        on_path = schedule.add_noise(ends, schedule.eps_from_velocity(noisy, slope, t), earlier)
        wanted = schedule.x0_from_velocity(on_path, trainee.velocity(on_path, earlier, hint, captions), earlier)
        first = (earlier < stage.distillation_gap).view(-1, 1, 1, 1, 1).to(wanted.device)
        wanted = torch.where(first, ends, wanted)
    estimate = schedule.x0_from_velocity(noisy, trainee.velocity(noisy, t, hint, captions), t)
    parts = {"consistency": stage.distillation_weight * charbonnier(estimate, wanted, 1e-2)}
    if stage.pixel_weight or stage.df_weight or stage.adversarial_weight:
        parts |= _pixel_terms(trainee, trainee.decode_like(estimate, gt, stage.decode_slice), gt, stage, t)
    return parts


def distribution_matching(trainee: Trainee, batch: Batch, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Move one-step results to where the teacher finds them likely and a model of the student does not.

    Both are asked for the clean estimate of the noised result; their difference is the direction. The student's
    model ("score") learns along from the student's results.
    Source: distribution matching distillation (arXiv 2311.18828), with our pixel terms in place of its regression.
    """
    schedule, captions = trainee.schedule, batch["caption"]
    hint = trainee.encode_lq(batch["lq"], rng)
    made = trainee.one_step_latents(batch["lq"], captions, rng)
    low, high = (round(share * schedule.num_levels) for share in (_LEAST_NOISE, _MOST_NOISE))
    t = torch.randint(low, high, (len(made),), generator=rng)
    with torch.no_grad():
        noisy = schedule.add_noise(made, _noise(made, rng), t)
        likely, own = (
            schedule.x0_from_velocity(noisy, trainee.velocity(noisy, t, hint, captions, network=network), t)
            for network in (trainee.helpers["teacher"], trainee.helpers["score"])
        )
        size = (made - likely).abs().flatten(1).mean(1).clamp(min=1e-4).view(-1, 1, 1, 1, 1)
        wanted = made - (own - likely) / size
    trainee.made = {"latents": made.detach(), "hint": hint}
    parts = {"matching": stage.distillation_weight * 0.5 * F.mse_loss(made, wanted)}
    hq = trainee.decode_like(made, batch["gt"], stage.decode_slice)
    return parts | _pixel_terms(trainee, hq, batch["gt"], stage)


def regression(trainee: Trainee, batch: Batch, stage: StageConfig, rng: torch.Generator) -> Parts:
    """Match the result of a network that has no latents to the ground truth; ``causal-sr`` is trained so.

    Pixel terms are computed on all of it; features and the critic's verdict on an excerpt drawn for the step.
    """
    hq, gt = trainee.one_step(batch["lq"]), batch["gt"]
    target = sharpened(gt, stage.sharpen_target) if stage.sharpen_target else gt
    parts = _pixel_terms(trainee, hq, target, dataclasses.replace(stage, adversarial_weight=0.0))
    if stage.grid_weight:
        parts["grid"] = stage.grid_weight * grid_loss(hq, target)
    excerpt = draw_excerpt(hq, stage.perceptual_side, stage.perceptual_frames, rng)
    if stage.artefact_weight:
        with torch.no_grad():
            reference = trainee.one_step(batch["lq"], network=trainee.helpers["teacher"])
        parts["artefact"] = stage.artefact_weight * artefact_loss(hq, reference, gt)
    if stage.perceptual_weight:
        network, wanted = cast(Vgg16, trainee.helpers["features"]), excerpt.of(target)
        distance = perceptual_distance(network, excerpt.of(hq), wanted, autocast=trainee.autocast)
        parts["perceptual"] = stage.perceptual_weight * distance
    if stage.adversarial_weight:
        made = excerpt.of(hq)
        parts["adversarial"] = stage.adversarial_weight * adversarial_loss(trainee.helpers["critic"], made)
        trainee.made = {"hq": made.detach(), "gt": excerpt.of(gt)}
    return parts


OBJECTIVES: dict[str, Objective] = {
    "regression": Objective(regression),
    "velocity": Objective(velocity),
    "star": Objective(velocity),
    "one-step": Objective(one_step),
    "consistency": Objective(consistency, helpers=("teacher",)),
    "distribution-matching": Objective(distribution_matching, helpers=("teacher", "score")),
}


def helper_names(stage: StageConfig) -> list[str]:
    """List what has to stand beside the network in a stage."""
    names = list(OBJECTIVES[stage.objective].helpers)
    if stage.objective == "regression":
        names += ["teacher"] if stage.artefact_weight else []
        names += ["features"] if stage.perceptual_weight else []
    return names + (["critic"] if stage.adversarial_weight else [])


def helper_losses(
    trainee: Trainee, batch: Batch, stage: StageConfig, rng: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    """Yield (helper, loss) for the helpers that learn, from what the network just made."""
    helpers, made = trainee.helpers, trainee.made
    if "critic" in helpers and "hq" in made:
        yield "critic", critic_loss(helpers["critic"], made.get("gt", batch["gt"]), made["hq"])
    if "score" in helpers and "latents" in made:
        latents = made["latents"]
        t = torch.randint(0, trainee.schedule.num_levels, (len(latents),), generator=rng)
        noise = _noise(latents, rng)
        noisy = trainee.schedule.add_noise(latents, noise, t)
        guess = trainee.velocity(noisy, t, made["hint"], batch["caption"], network=helpers["score"])
        yield "score", F.mse_loss(guess, trainee.schedule.velocity(latents, noise, t))


def new_critic(kind: str = "patch") -> nn.Module:
    """Build the critic of the adversarial term, of the stage's kind."""
    return TwoHeadCritic() if kind == "two-head" else PatchCritic()


def _pixel_terms(trainee: Trainee, hq: Tensor, gt: Tensor, stage: StageConfig, t: Tensor | None = None) -> Parts:
    if t is None:
        t = torch.full((len(hq),), trainee.spec.one_step_timestep)
    parts: Parts = {}
    if stage.pixel_weight:
        parts["pixel"] = stage.pixel_weight * charbonnier(hq, gt)
    if stage.psnr_weight:
        parts["psnr"] = stage.psnr_weight * negative_psnr(hq, gt)
    if stage.df_weight:
        with torch.set_grad_enabled(stage.df_gradient and torch.is_grad_enabled()):
            parts["df"] = stage.df_weight * _frequency_loss(hq, gt, t, stage).mean()
    if stage.structure_weight:
        parts["structure"] = stage.structure_weight * structural_dissimilarity(hq, gt)
    if stage.temporal_weight:
        parts["temporal"] = stage.temporal_weight * temporal_difference(hq, gt)
    if stage.adversarial_weight:
        parts["adversarial"] = stage.adversarial_weight * adversarial_loss(trainee.helpers["critic"], hq)
        trainee.made = {**trainee.made, "hq": hq.detach()}
    return parts


def _frequency_loss(estimate: Tensor, gt: Tensor, t: Tensor, stage: StageConfig) -> Tensor:
    return dynamic_frequency_loss(
        estimate,
        gt,
        t.to(gt.device),
        alpha=stage.df_alpha,
        cutoff=stage.df_cutoff,
        separation=stage.df_separation,
        weighting=stage.df_weighting,
    )


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    """Draw unit noise on the CPU, so that it does not depend on the device."""
    return torch.randn(like.shape, generator=rng).to(like.device)
