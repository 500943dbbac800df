"""Consistency with the input and added detail: a bicubic result adds nothing, a pattern of one pixel is all added."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from starvsr.errors import OptionError
from starvsr.metrics.consistency import added_detail, consistency
from starvsr.metrics.evaluate import measure


@pytest.fixture
def lq(reference):
    return reference[0, :40, :48]


def _large(lq, scale=4):
    return np.asarray(Image.fromarray(lq).resize((lq.shape[1] * scale, lq.shape[0] * scale), Image.Resampling.BICUBIC))


def test_a_reduced_result_is_compared_as_pillow_reduces(lq):
    rng = np.random.default_rng(0)
    hq = np.clip(_large(lq) + rng.normal(0, 20, (160, 192, 3)), 0, 255).astype(np.uint8)
    planes = [
        Image.fromarray(hq[..., c].astype(np.float32)).resize((48, 40), Image.Resampling.BICUBIC) for c in range(3)
    ]
    small = np.clip(np.stack([np.asarray(plane) for plane in planes], 2), 0, 255)
    wanted = 10 * math.log10(255**2 / np.mean((small - lq.astype(np.float64)) ** 2))
    assert consistency(hq, lq) == pytest.approx(wanted, abs=0.02)


def test_other_colours_and_pictures_are_less_consistent(lq):
    plain = consistency(_large(lq), lq)
    darker = consistency(np.clip(_large(lq).astype(int) - 10, 0, 255).astype(np.uint8), lq)
    other = consistency(_large(lq)[::-1].copy(), lq)
    assert plain > 32 > darker > other and darker == pytest.approx(20 * math.log10(255 / 10), abs=1.5)


def test_added_detail_is_what_the_input_cannot_hold(lq):
    large = _large(lq).astype(int).clip(20, 235)
    pattern = 8 * (np.indices(large.shape[:2]).sum(0) % 2 * 2 - 1)[..., None]
    before, after = (added_detail((large + add).astype(np.uint8), lq) for add in (0, pattern))
    assert np.sqrt(np.mean(before**2)) < 2
    assert np.sqrt(np.mean((after - before) ** 2)) == pytest.approx(8, abs=0.3)
    assert abs(after.mean()) < 0.1


def test_sizes_that_are_no_multiple_are_taken_and_smaller_results_refused(lq):
    hq = np.asarray(Image.fromarray(lq).resize((101, 83), Image.Resampling.BICUBIC))
    assert consistency(hq, lq) > 25
    with pytest.raises(OptionError, match="smaller than its input"):
        consistency(lq[:20, :20], lq)


def test_seams_are_found_without_a_ground_truth(reference):
    lq = np.concatenate([reference, reference[::-1]] * 2)[:, :40, :48]
    hq = np.stack([_large(frame) for frame in lq]).astype(int)
    names = ["seam_lines_lq", "seam_steps_lq", "consistency_lq_db", "added_detail_lq", "color_error_lq_de00"]
    plain = measure(hq.astype(np.uint8), lq=lq, metrics=names, crop_px=0)
    hq[:, :, 97:] += 12
    hq[10:] -= 5
    seamed = measure(hq.clip(0, 255).astype(np.uint8), lq=lq, metrics=names, crop_px=0)
    assert seamed["seam_lines_lq"].min() > 1.5 * plain["seam_lines_lq"].max()
    assert np.nanargmax(seamed["seam_steps_lq"]) == 10 and seamed["seam_steps_lq"][10] > 3
    assert np.nanmax(plain["seam_steps_lq"]) < 2
    assert seamed["color_error_lq_de00"].mean() > plain["color_error_lq_de00"].mean()
