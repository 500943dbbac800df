"""Warping is the bilinear formula, on sides beside powers of two, and exact for whole numbers of pixels."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.metrics import warping
from starvsr.metrics.temporal import warping_error
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


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """What the installed OpenCV does is found out again, before and after the test."""
    warping._opencv_is_exact.cache_clear()
    yield
    warping._opencv_is_exact.cache_clear()


def _scene():
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (2, 70, 90, 3), dtype=np.uint8)
    forward = rng.normal(0, 3, (70, 90, 2)).astype(np.float32)
    forward[5, 5], forward[60, 80] = (-400, 1000), (3000, -0.5)  # out of the picture
    return frames, forward, (-forward).astype(np.float32)


def _rounding(image, x, y, *arguments, **named):
    """OpenCV's remap as it was before version 5: coordinates to 1/32 px."""
    return cv2.remap(image, np.round(x * 32) / 32, np.round(y * 32) / 32, *arguments, **named)


class _OldOpenCv:
    remap = staticmethod(_rounding)
    merge, split = staticmethod(cv2.merge), staticmethod(cv2.split)
    INTER_LINEAR, BORDER_REPLICATE = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE


def _not_installed():
    raise OptionError("not installed")


@pytest.mark.parametrize("there", [_OldOpenCv, _not_installed])
def test_values_do_not_depend_on_opencv(monkeypatch, asked_anew, there):
    frames, forward, backward = _scene()
    known = warping_error(*frames, forward, backward)
    assert warping._opencv_is_exact()  # the one of our constraints
    monkeypatch.setattr(warping, "opencv", there if there is _not_installed else lambda: there)
    warping._opencv_is_exact.cache_clear()
    assert not warping._opencv_is_exact()
    assert warping_error(*frames, forward, backward) == pytest.approx(known, rel=1e-6)
    np.testing.assert_allclose(warp(frames[0], forward), _by_hand(frames[0], forward), atol=0.003)


def test_strips_change_nothing(monkeypatch):
    frames, forward, backward = _scene()
    whole = warping_error(*frames, forward, backward), warp(frames[0], forward)
    monkeypatch.setattr(warping, "STRIP_PIXELS", 1)  # 8 rows
    assert warping_error(*frames, forward, backward) == pytest.approx(whole[0], rel=1e-12)
    np.testing.assert_array_equal(warp(frames[0], forward), whole[1])
