from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality.contact_sheets import Row, detailed_window, enlarge_nearest, save_sheet, window


def test_the_window_lies_on_the_detail():
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[60:80:2, 100:130] = 255
    left, top = detailed_window(picture, 40, 32)
    assert left % 4 == top % 4 == 0
    assert left <= 100 <= 130 <= left + 40
    assert top <= 60 <= 80 <= top + 32


@pytest.mark.parametrize("size", [(20, 30), (33, 41), (48, 64)])
def test_small_pictures_still_give_a_window(size):
    picture = np.zeros((*size, 3), np.uint8)
    left, top = detailed_window(picture, 64, 48)
    assert window(picture, left, top, 64, 48).size > 0


def test_sheet_shows_the_pictures_in_their_columns(tmp_path):
    red, green = np.zeros((2, 10, 20, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    save_sheet([Row("a", {"one": red, "two": green}), Row("b", {"one": green, "two": red})], tmp_path / "x" / "s.png")
    pixels = np.asarray(Image.open(tmp_path / "x" / "s.png"))
    columns = pixels[:, [5, 29]].tolist()
    assert [[255, 0, 0], [0, 255, 0]] in columns and [[0, 255, 0], [255, 0, 0]] in columns


def test_nearest_repeats_pixels():
    assert enlarge_nearest(np.arange(3, dtype=np.uint8).reshape(1, 1, 3), 4).shape == (4, 4, 3)
