"""Terms that several objectives have in common: comparison in pixels, and noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from starvsr.training.auxiliary_networks import AuxiliaryNetwork, critic
from starvsr.training.discriminator import adversarial_loss, critic_loss
from starvsr.training.losses import (
    charbonnier,
    dynamic_frequency_loss,
    negative_psnr,
    structural_dissimilarity,
    temporal_difference,
)
from starvsr.training.objectives.objective import Losses
from starvsr.training.objectives.tables import AdversarialTable, FrequencyTable, PixelLosses


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


def adversarial_term(
    discriminator: nn.Module, hq: Tensor, gt: Tensor, weight: float
) -> tuple[Losses, dict[str, Callable[[], Tensor]]]:
    """Return what the critic's verdict on a result costs, and what the critic learns from."""
    losses = {"adversarial": weight * adversarial_loss(discriminator, hq)}
    made = hq.detach()
    return losses, {"critic": lambda: critic_loss(discriminator, gt, made)}


def critics(weights: PixelLosses, table: AdversarialTable) -> list[AuxiliaryNetwork]:
    """Return the critic of a stage that has an adversarial term."""
    return [critic(table.critic, table.lr)] if weights.adversarial else []


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
