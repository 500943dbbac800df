"""Shifts are measured to 0.1 px, also of blurred results; made by Pillow's resampling."""

from __future__ import annotations

import re

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

from starvsr.errors import InputError
from starvsr.evaluation.alignment import Shift, central_luma, correlation, measure_shift, unexplained_after
from starvsr.evaluation.verdicts import REFUSE_PX, Sample, judge
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
    found = measure_shift([(central_luma(hq.clip(0, 255).astype(np.uint8)), central_luma(gt))])
    assert (found.x, found.y) == (pytest.approx(x, abs=0.1), pytest.approx(y, abs=0.1))
    assert found.error < 0.4


def lettering() -> np.ndarray:
    image = Image.new("RGB", (336, 256), (250, 250, 240))
    draw = ImageDraw.Draw(image)
    for line in range(12):
        draw.text((12, 8 + 20 * line), "one pixel to the right " * 2, fill=(20, 20, 40))
    return np.asarray(image)


PICTURES = {
    "scene": lambda: scene(256, 336),
    "small": lambda: scene(80, 112),
    "photo": lambda: skimage.data.coffee()[60:316, 100:436],
    "lettering": lettering,
    "dark": lambda: (scene(256, 336) // 10 + 8).astype(np.uint8),
    "noisy": lambda: (
        (scene(256, 336) + np.random.default_rng(1).normal(0, 20, (256, 336, 3))).clip(0, 255).astype("u1")
    ),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, -1)])
def test_one_pixel_is_refused_in_pictures_of_all_kinds(name: str, x: int, y: int) -> None:
    """Of single frames, enlarged from a quarter of their size; in their place they pass without a word."""
    wide = PICTURES[name]()
    gt, moved_gt = wide[8:-8, 8:-8], wide[8 - y : wide.shape[0] - 8 - y, 8 - x : wide.shape[1] - 8 - x]
    for hq, is_shifted in ((gt, False), (moved_gt, True)):
        sample = Sample(central_luma(blurred(hq[None])[0]), central_luma(gt))
        if is_shifted:
            with pytest.raises(InputError, match=r"shifted by (1\.|0\.9)"):
                judge("clip", [sample])
        else:
            assert judge("clip", [sample]).warnings == []


def test_what_is_hardly_there_is_not_said_to_be_shifted() -> None:
    """Coarse structure alone, and as much that was invented: the estimate is off by pixels, and says so."""
    wrong = 0
    for seed in range(12):
        gt = scene(240, 320, seed)
        invented = np.random.default_rng(seed).normal(0, 16, (24, 32)).astype(np.float32)
        added = np.asarray(Image.fromarray(invented).resize((320, 240), Image.Resampling.BICUBIC))
        soft = np.asarray(Image.fromarray(gt).filter(ImageFilter.GaussianBlur(9)), np.float32)
        sample = Sample((soft @ [0.299, 0.587, 0.114] + added).astype(np.float32), central_luma(gt))
        verdict = judge("clip", [sample])  # refuses none
        assert verdict.measured is not None
        if verdict.measured.size >= REFUSE_PX:
            wrong += 1
            assert verdict.shift is None and re.search(r"told to \d+\.\d px only", verdict.warnings[0])
    assert wrong >= 8


def test_a_shift_explains_what_it_moved() -> None:
    wide = scene(200, 240)
    gt, hq = central_luma(wide[20:-20, 20:-20]), central_luma(wide[22:-18, 17:-23])
    assert unexplained_after(hq, gt, Shift(3, -2)) < 1e-6 < 0.01 < unexplained_after(hq, gt, Shift(0, 0))


def test_correlation_does_not_mind_brightness_and_contrast() -> None:
    luma = central_luma(scene())
    assert correlation(luma * 0.5 + 40, luma) == pytest.approx(1)
    assert correlation(np.full_like(luma, 3), luma) == 0
    assert abs(correlation(luma, central_luma(scene(seed=8)))) < 0.5
