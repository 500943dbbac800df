"""Warping is the bilinear formula, on sides beside powers of two, and exact for whole numbers of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from starvsr.metrics.warping import warp

SIZES = [(1, 1), (1, 7), (5, 2), (16, 17), (17, 16), (33, 40), (70, 65)]


def _by_hand(frame, flow):
    height, width = frame.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    x = np.clip(columns + flow[..., 0].astype(np.float64), 0, width - 1)
    y = np.clip(rows + flow[..., 1].astype(np.float64), 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    upper = frame[y0, x0] * (1 - fx) + frame[y0, x1] * fx
    lower = frame[y1, x0] * (1 - fx) + frame[y1, x1] * fx
    return upper * (1 - fy) + lower * fy


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_formula(size):
    rng = np.random.default_rng(1)
    frame = rng.uniform(0, 255, (*size, 4)).astype(np.float32)
    flow = rng.normal(0, 6, (*size, 2)).astype(np.float32)
    np.testing.assert_allclose(warp(frame, flow), _by_hand(frame, flow), atol=0.003)


@pytest.mark.parametrize("size", SIZES)
def test_whole_numbers_of_pixels_are_exact(size):
    rng = np.random.default_rng(2)
    frame = rng.integers(0, 256, (*size, 3)).astype(np.float32)
    flow = rng.integers(-3, 4, (*size, 2)).astype(np.float32)
    np.testing.assert_array_equal(warp(frame, flow), _by_hand(frame, flow))
