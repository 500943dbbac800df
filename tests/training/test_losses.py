"""Losses: the dynamic frequency loss trains, and weighs what it says it weighs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from starvsr.training.losses import (
    charbonnier,
    dynamic_frequency_loss,
    fade,
    low_share,
    negative_psnr,
    released_bands,
    structural_dissimilarity,
    temporal_difference,
)


def _wave(cycles_per_pixel: float) -> torch.Tensor:
    """A clip [1, 3, 2, 32, 32] that varies along the width only."""
    wave = torch.cos(2 * torch.pi * cycles_per_pixel * torch.arange(32.0))
    return wave.expand(1, 3, 2, 32, 32) * 0.5


def _df(prediction: torch.Tensor, target: torch.Tensor, t: int, **options: Any) -> float:
    return float(dynamic_frequency_loss(prediction, target, torch.tensor([t]), **options))


@pytest.mark.parametrize("separation", ["radial", "magnitude", "released", "none"])
def test_df_loss_has_a_gradient(separation: Any) -> None:
    torch.manual_seed(0)
    prediction = torch.randn(2, 3, 2, 16, 16, requires_grad=True)
    loss = dynamic_frequency_loss(
        prediction, torch.randn(2, 3, 2, 16, 16), torch.tensor([10, 800]), separation=separation
    )
    assert loss.shape == (2,)
    loss.sum().backward()
    assert prediction.grad is not None
    assert prediction.grad.flatten(1).norm(dim=1).min() > 1e-4


def test_df_loss_weighs_low_frequencies_at_strong_noise_and_high_ones_at_weak() -> None:
    zero, low, high = torch.zeros(1, 3, 2, 32, 32), _wave(2 / 32), _wave(14 / 32)
    assert _df(low, zero, 999) > 100 * _df(high, zero, 999)
    assert _df(high, zero, 0) > 100 * _df(low, zero, 0)
    assert _df(low, zero, 0, weighting="inverse") > 100 * _df(high, zero, 0, weighting="inverse")


def test_df_loss_without_separation_treats_all_alike() -> None:
    zero, low, high = torch.zeros(1, 3, 2, 32, 32), _wave(2 / 32), _wave(14 / 32)
    assert _df(low, zero, 300, separation="none") == pytest.approx(_df(high, zero, 300, separation="none"), rel=1e-4)


def test_df_loss_does_not_grow_with_the_frame() -> None:
    torch.manual_seed(0)
    small, large = torch.randn(1, 3, 1, 16, 16), torch.randn(1, 3, 1, 64, 64)
    ratio = _df(large, torch.zeros_like(large), 500) / _df(small, torch.zeros_like(small), 500)
    assert 0.7 < ratio < 1.4


@pytest.mark.parametrize("loss", [charbonnier, structural_dissimilarity, temporal_difference])
def test_losses_are_zero_at_equality_only(loss: Any) -> None:
    torch.manual_seed(0)
    clip = torch.rand(1, 3, 3, 64, 64) * 2 - 1
    assert float(loss(clip, clip)) == pytest.approx(0, abs=1e-5)
    assert float(loss(clip + 0.2 * torch.randn_like(clip), clip)) > 0.01


def test_negative_psnr_is_the_mean_over_clips_in_db() -> None:
    torch.manual_seed(0)
    clip = torch.rand(2, 3, 2, 64, 64) - 0.5
    noisy = clip + torch.randn_like(clip) * torch.tensor([0.1, 0.4])[:, None, None, None, None]
    wanted = [20 * math.log10(sigma / 2) for sigma in (0.1, 0.4)]
    assert float(negative_psnr(noisy, clip, ceiling_db=100)) == pytest.approx(sum(wanted) / 2, abs=0.2)
    assert float(negative_psnr(clip, clip)) == pytest.approx(-46, abs=1e-3)


def test_temporal_difference_ignores_what_does_not_move() -> None:
    torch.manual_seed(0)
    clip = torch.rand(1, 3, 3, 8, 8)
    assert float(temporal_difference(clip + 0.3, clip)) == pytest.approx(0, abs=1e-6)
    assert float(temporal_difference(clip[:, :, :1], clip[:, :, :1])) == 0


def test_structural_dissimilarity_grows_with_blur() -> None:
    torch.manual_seed(0)
    clip = torch.rand(1, 3, 1, 64, 64)
    blurred = [F.avg_pool3d(clip, (1, k, k), 1, (0, k // 2, k // 2)) for k in (3, 7)]
    weak, strong = (float(structural_dissimilarity(b, clip)) for b in blurred)
    assert 0.05 < weak < strong


def test_c_and_b_are_those_of_the_paper() -> None:
    t = torch.tensor([0, 250, 999])
    assert low_share(t, 2.0).tolist() == pytest.approx([0, (250 / 999) ** 2, 1])
    assert low_share(t, 0.5, "inverse").tolist() == pytest.approx([1, 1 - (250 / 999) ** 0.5, 0])
    assert fade(t).tolist() == pytest.approx([1, 1 - 250 / 999, 0])
    assert fade(t, "exponential").tolist() == pytest.approx([1, (math.exp(1 - 250 / 999) - 1) / (math.e - 1), 0])


def test_released_quantile_of_a_large_clip_is_near_the_exact_one_and_repeats() -> None:
    torch.manual_seed(0)
    clip = torch.randn(1, 3, 4, 64, 64)
    exact = torch.fft.rfft2(clip).abs().flatten().quantile(0.8)
    cutoffs = [released_bands(clip)[2] for _ in range(2)]
    assert torch.equal(*cutoffs)
    assert float(cutoffs[0]) == pytest.approx(float(exact), rel=0.02)
