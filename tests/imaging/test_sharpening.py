"""Sharpening: faint waves grow, edges, noise and gray stay, the network's own pattern goes."""

from __future__ import annotations

import numpy as np
import pytest

from starvsr.imaging import sharpening
from starvsr.imaging.sharpening import NOISE, sharpen_frame

FULL = 65535


def _gray(luma: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(luma * FULL).astype(np.uint16)[..., None], 3, axis=2)


def _wave(period_px: float, size: float, height: int = 96, width: int = 160) -> np.ndarray:
    across = np.arange(width)[None] + 0.3 * np.arange(height)[:, None]
    return 0.5 + size * np.sin(2 * np.pi * across / period_px)


def _size(codes: np.ndarray) -> float:
    """Root of the mean square around the mean, without the borders."""
    inner = codes[24:-24, 24:-24].astype(np.float64) / FULL
    return float(inner.std())


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_faint_texture_grows_with_the_strength(strength: float) -> None:
    wave = _gray(_wave(9, 0.012))
    factor = _size(sharpen_frame(wave, strength, 4)) / _size(wave)
    assert 1 + 0.4 * strength < factor < 1 + 1.2 * strength


def test_waves_of_the_networks_squares_do_not_grow() -> None:
    across = np.arange(160)[None] * np.pi / 2
    wave = _gray(0.5 + 0.01 * np.sin(across + np.arange(96)[:, None] * 0.37))  # no pattern: each row has another phase
    assert _size(sharpen_frame(wave, 2, 4)) < 1.05 * _size(wave)


def test_nothing_is_changed_by_strength_0() -> None:
    picture = np.random.default_rng(0).integers(0, FULL, (16, 24, 3)).astype(np.uint16)
    found = sharpen_frame(picture, 0, 4)
    assert np.array_equal(found, picture) and not np.shares_memory(found, picture)


def test_noise_below_a_level_stays() -> None:
    noise = np.random.default_rng(1).normal(0.5, NOISE / 6, (96, 160))
    assert _size(sharpen_frame(_gray(noise), 1, 4)) < 1.15 * _size(_gray(noise))


def test_a_strong_edge_gets_no_halo() -> None:
    edge = np.where(np.arange(160)[None] < 80, 0.2, 0.8).repeat(96, axis=0)
    soft = np.clip((np.arange(160)[None] - 77) / 6, 0, 1).repeat(96, axis=0) * 0.6 + 0.2
    for picture in (edge, soft):
        found = sharpen_frame(_gray(picture), 1, 4).astype(np.float64) / FULL
        assert found.min() > 0.2 - 0.021 and found.max() < 0.8 + 0.021
    flat = sharpen_frame(_gray(edge), 1, 4).astype(np.float64)[:, 110:] / FULL
    assert np.abs(flat - 0.8).max() < 1e-4


def test_gray_stays_gray_and_colours_keep_their_differences() -> None:
    rng = np.random.default_rng(2)
    luma = np.clip(_wave(7, 0.02) + rng.normal(0, 0.01, (96, 160)), 0, 1)
    gray = sharpen_frame(_gray(luma), 1, 4)
    assert (gray == gray[..., :1]).all()
    tinted = _gray(luma)
    tinted[..., 0] += 3000
    tinted[..., 2] -= 2000
    found = sharpen_frame(tinted, 1, 4).astype(int)
    assert np.abs((found[..., 0] - found[..., 1]) - 3000).max() <= 1
    assert np.abs((found[..., 2] - found[..., 1]) + 2000).max() <= 1


def test_a_pattern_of_the_networks_squares_goes() -> None:
    pattern = np.random.default_rng(3).normal(0, 0.01, (4, 4))
    pattern -= pattern.mean()
    ramp = np.linspace(0.3, 0.6, 160)[None].repeat(128, axis=0)
    found = sharpen_frame(_gray(ramp + np.tile(pattern, (32, 40))), 1, 4).astype(np.float64)[..., 0] / FULL
    assert (found - ramp)[24:-24, 24:-24].std() < 0.25 * pattern.std()


def test_without_squares_nothing_is_taken_for_their_pattern() -> None:
    wave = _gray(_wave(6, 0.012))
    assert _size(sharpen_frame(wave, 1, 1)) > 1.5 * _size(wave) and _size(wave) > 0.008


@pytest.mark.parametrize(("height", "width", "scale"), [(128, 96, 4), (52, 40, 4), (90, 66, 3), (4, 8, 4)])
def test_bands_are_the_whole(monkeypatch: pytest.MonkeyPatch, height: int, width: int, scale: int) -> None:
    picture = np.random.default_rng(4).integers(0, FULL, (height, width, 3)).astype(np.uint16)
    whole = sharpen_frame(picture, 1, scale)
    monkeypatch.setattr(sharpening, "_BAND", 3 * scale)
    parts = sharpen_frame(picture, 1, scale)
    assert np.abs(whole.astype(int) - parts.astype(int)).max() <= 1
    assert (whole != picture).any()
