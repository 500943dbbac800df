"""Terms that several objectives have in common: comparison in pixels, and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from starvsr.models.vgg16 import Vgg16
from starvsr.training.auxiliary_networks import AuxiliaryNetwork, critic, features
from starvsr.training.discriminator import Seen, adversarial_loss, critic_loss
from starvsr.training.feature_critic import FeatureCritic
from starvsr.training.losses import (
    charbonnier,
    dynamic_frequency_loss,
    negative_psnr,
    structural_dissimilarity,
    temporal_difference,
)
from starvsr.training.objectives.objective import Auxiliary, Losses
from starvsr.training.objectives.tables import AdversarialTable, FrequencyTable, PixelLosses
from starvsr.training.perceptual import vgg_features


def pixel_terms(hq: Tensor, gt: Tensor, weights: PixelLosses, frequency: FrequencyTable, t: Tensor) -> Losses:
    """Compare results with the ground truth: pixels, PSNR, frequencies, structure, change over time.

    Args:
        hq: result with gradient, [B, 3, T, H, W] in [-1, 1].
        gt: target of the same shape.
        weights: of the terms; those of weight 0 are left out.
        frequency: form of the dynamic frequency loss.
        t: timesteps [B] at which the results were predicted.
    """
    losses: Losses = {}
    if weights.pixel:
        losses["pixel"] = weights.pixel * charbonnier(hq, gt)
    if weights.psnr:
        losses["psnr"] = weights.psnr * negative_psnr(hq, gt)
    if weights.frequency:
        with torch.set_grad_enabled(frequency.gradient and torch.is_grad_enabled()):
            losses["df"] = weights.frequency * frequency_loss(hq, gt, t, frequency).mean()
    if weights.structure:
        losses["structure"] = weights.structure * structural_dissimilarity(hq, gt)
    if weights.temporal:
        losses["temporal"] = weights.temporal * temporal_difference(hq, gt)
    return losses


def features_of(auxiliary: Auxiliary, clip: Tensor, autocast: torch.dtype | None = None) -> list[Tensor]:
    """Return VGG16 features of the frames of a clip [B, 3, T, H, W]; none in a stage without the trunk."""
    network = cast(Vgg16 | None, auxiliary.get("features"))
    return [] if network is None else vgg_features(network, clip, autocast=autocast)


def judged(auxiliary: Auxiliary, clip: Tensor, autocast: torch.dtype | None = None) -> Seen:
    """Return what the stage's critic sees of a clip [B, 3, T, H, W]: itself, or the features of its frames."""
    return features_of(auxiliary, clip, autocast) if isinstance(auxiliary["critic"], FeatureCritic) else clip


def adversarial_term(
    discriminator: nn.Module, made: Seen, real: Seen, weight: float
) -> tuple[Losses, dict[str, Callable[[], Tensor]]]:
    """Return what the critic's verdict on a result costs, and what the critic learns from."""
    losses = {"adversarial": weight * adversarial_loss(discriminator, made)}
    detached = made.detach() if isinstance(made, Tensor) else [features.detach() for features in made]
    return losses, {"critic": lambda: critic_loss(discriminator, real, detached)}


def critics(weights: PixelLosses, table: AdversarialTable) -> list[AuxiliaryNetwork]:
    """Return the critic of a stage that has an adversarial term, and the trunk whose features it judges."""
    if not weights.adversarial:
        return []
    return [critic(table.critic, table.lr), *([features()] if table.critic == "features" else [])]


def frequency_loss(estimate: Tensor, gt: Tensor, t: Tensor, table: FrequencyTable) -> Tensor:
    """Return the dynamic frequency loss [B] in the form that a recipe asks for."""
    return dynamic_frequency_loss(
        estimate,
        gt,
        t.to(gt.device),
        alpha=table.alpha,
        cutoff=table.cutoff,
        separation=table.separation,
        weighting=table.weighting,
    )


def unit_noise(like: Tensor, rng: torch.Generator) -> Tensor:
    """Draw unit noise on the CPU, so that it does not depend on the device."""
    return torch.randn(like.shape, generator=rng).to(like.device)
