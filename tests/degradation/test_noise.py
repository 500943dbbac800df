from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.degradation.noise import NoiseDraw, NoiseRanges, add_noise, draw_noise


def test_gaussian_noise_has_the_strength_drawn_and_is_new_in_every_frame() -> None:
    clip = torch.full((4, 3, 64, 64), 0.5)
    noise = add_noise(clip, NoiseDraw("gaussian", 10.0, grey=False), np.random.default_rng(0)) - clip
    assert noise.std().item() * 255 == pytest.approx(10.0, rel=0.02)
    frames = np.corrcoef(noise.flatten(1).numpy())
    assert np.abs(frames - np.eye(4)).max() < 0.05


def test_grey_noise_is_the_same_in_all_channels() -> None:
    clip = torch.full((1, 3, 8, 8), 0.5)
    for kind in ("gaussian", "poisson"):
        noise = add_noise(clip, NoiseDraw(kind, 1.0, grey=True), np.random.default_rng(0)) - clip
        assert torch.equal(noise[:, 0], noise[:, 1]) and torch.equal(noise[:, 0], noise[:, 2])
        assert noise.abs().sum() > 0


def test_photon_noise_grows_with_the_root_of_the_light() -> None:
    rng = np.random.default_rng(0)
    draw = NoiseDraw("poisson", 1.0, grey=False)
    spreads = [(add_noise(torch.full((1, 3, 128, 128), level), draw, rng) - level).std().item() for level in (0.2, 0.8)]
    assert spreads[1] / spreads[0] == pytest.approx(2.0, rel=0.03)
    assert spreads[1] == pytest.approx((0.8 / 256) ** 0.5, rel=0.02)


def test_noise_stays_in_range() -> None:
    clip = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    noisy = add_noise(clip, NoiseDraw("gaussian", 30.0, grey=False), np.random.default_rng(0))
    assert noisy.min() >= 0 and noisy.max() <= 1


def test_probabilities_are_honoured() -> None:
    rng = np.random.default_rng(0)
    assert all(draw_noise(rng, NoiseRanges(probability=0.0)) is None for _ in range(20))
    draws = [draw_noise(rng, NoiseRanges(gaussian_probability=0.25, grey_probability=0.5)) for _ in range(2000)]
    assert np.mean([draw.kind == "gaussian" for draw in draws if draw]) == pytest.approx(0.25, abs=0.04)
    assert np.mean([draw.grey for draw in draws if draw]) == pytest.approx(0.5, abs=0.04)
