"""Kinds of regions: writing, drawings, blurred and sharp pictures are told apart, each made by Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from starvsr.evaluation.regions import KINDS, cell_grid, kinds_of
from tests.evaluation.made_clips import scene


def _writing() -> np.ndarray:
    page = Image.new("RGB", (320, 192), (245, 245, 240))
    draw = ImageDraw.Draw(page)
    for top in range(0, 192, 18):
        draw.text((2, top), "Sphinx of black quartz, judge my vow 0123456789", font=ImageFont.load_default(15), fill=0)
    return np.array(page)


def _drawing() -> np.ndarray:
    page = Image.new("RGB", (320, 192), (120, 180, 240))
    draw = ImageDraw.Draw(page)
    for number in range(12):
        left, top = 26 * number, 17 * (number * 5 % 9)
        draw.rectangle((left, top, left + 70, top + 44), fill=((number * 67) % 256, (number * 31) % 256, 90))
    return np.array(page)


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 216, (192, 320, 3), dtype=np.uint8)


def _blurred() -> np.ndarray:
    sharp = Image.fromarray(scene(192, 320)).filter(ImageFilter.GaussianBlur(4))
    return np.array(sharp)


def _share(frame: np.ndarray, kind: str) -> float:
    return float((kinds_of(frame) == KINDS.index(kind)).mean())


@pytest.mark.parametrize(
    ("make", "kind", "least"),
    [
        (_writing, "text-like", 0.6),
        (_noise, "textured", 0.9),
        (_blurred, "soft", 0.6),
        (lambda: np.full((192, 320, 3), 80, np.uint8), "flat", 1.0),
    ],
)
def test_most_of_a_picture_is_of_its_kind(make, kind, least):
    assert _share(make(), kind) >= least


def test_a_drawing_has_drawn_edges_and_flat_areas_and_nothing_soft():
    frame = _drawing()
    assert _share(frame, "drawn") > 0.1 and _share(frame, "soft") == 0
    assert _share(frame, "drawn") + _share(frame, "flat") + _share(frame, "text-like") > 0.9
    assert _share(_noise(), "drawn") == _share(_blurred(), "drawn") == 0


@pytest.mark.parametrize(("height", "width"), [(5, 9), (16, 16), (1080, 1920), (480, 270)])
def test_cells_are_at_most_64_to_a_side(height, width):
    rows, columns = cell_grid(height, width)
    assert 1 <= rows <= 64 and 1 <= columns <= 64
    assert kinds_of(np.zeros((height, width, 3), np.uint8)).shape == (rows, columns)
