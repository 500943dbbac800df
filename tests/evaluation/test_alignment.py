"""Shifts are measured to 0.1 px, also of blurred results; made by Pillow's resampling."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from starvsr.evaluation.alignment import Shift, central_luma, correlation, measure_shift, unexplained_after
from tests.evaluation.made_clips import blurred, scene


def moved(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """Move a picture by a fraction of a pixel: Pillow fetches (column - x, row - y)."""
    image = Image.fromarray(picture)
    return np.asarray(
        image.transform(image.size, Image.Transform.AFFINE, (1, 0, -x, 0, 1, -y), Image.Resampling.BICUBIC)
    )


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (0, -2), (0.5, 0.3), (-1.4, 3.2), (7, -5)])
def test_a_shift_is_measured_to_a_tenth_of_a_pixel(x: float, y: float) -> None:
    wide = scene(240, 320)
    gt, shifted = wide[20:-20, 20:-20], moved(wide, x, y)[20:-20, 20:-20]
    hq = blurred(shifted[None])[0].astype(np.float32) + np.random.default_rng(0).normal(0, 6, shifted.shape)
    found = measure_shift(central_luma(hq.clip(0, 255).astype(np.uint8)), central_luma(gt))
    assert (found.x, found.y) == (pytest.approx(x, abs=0.1), pytest.approx(y, abs=0.1))


def test_a_shift_explains_what_it_moved() -> None:
    wide = scene(200, 240)
    gt, hq = central_luma(wide[20:-20, 20:-20]), central_luma(wide[22:-18, 17:-23])
    assert unexplained_after(hq, gt, Shift(3, -2)) < 1e-6 < 0.01 < unexplained_after(hq, gt, Shift(0, 0))


def test_correlation_does_not_mind_brightness_and_contrast() -> None:
    luma = central_luma(scene())
    assert correlation(luma * 0.5 + 40, luma) == pytest.approx(1)
    assert correlation(np.full_like(luma, 3), luma) == 0
    assert abs(correlation(luma, central_luma(scene(seed=8)))) < 0.5
