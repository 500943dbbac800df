"""Seams, flicker of what stands still and colour drift: found where they were put, and not elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from starvsr.errors import OptionError
from starvsr.metrics.color_drift import ciede2000, mean_lab
from starvsr.metrics.evaluate import measure
from starvsr.metrics.fidelity import to_luma
from starvsr.metrics.seams import line_ratios, segment_seams, tile_seams
from starvsr.metrics.still_flicker import still
from tests.metrics.synthetic_clips import DISTORTIONS, reference


@pytest.fixture(scope="module")
def gt() -> np.ndarray:
    return reference(24, 96, 128)


@pytest.fixture(scope="module")
def noisy(gt) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 2, gt.shape)
    return (gt + noise).round().clip(0, 255).astype(np.uint8)


def one(metric, *clips, **options):
    return next(iter(measure(*clips, metrics=[metric], crop_px=0, **options).values()))


def test_a_tile_border_is_found_as_a_line(gt, noisy):
    tiled = noisy.copy()
    tiled[:, :, 40:] = (tiled[:, :, 40:].astype(int) + 3).clip(0, 255)
    plain, seen = one("seam_lines", noisy[:2], gt[:2]), one("seam_lines", tiled[:2], gt[:2])
    assert (plain < 1.5).all() and (seen > plain + 0.2).all()
    error = to_luma(tiled[0], studio=False) - to_luma(gt[0], studio=False)
    assert line_ratios(error)[0].argmax() == 39
    known = tile_seams(columns=[40])
    assert (one(known, tiled[:2], gt[:2]) > 1.3).all() and abs(one(known, noisy[:2], gt[:2]).mean() - 1) < 0.2
    assert (one("seam_lines", gt[:1], gt[:1]) == 1).all()


def test_rows_count_as_columns_do(gt, noisy):
    tiled = noisy.copy()
    tiled[:, 50:] = (tiled[:, 50:].astype(int) + 4).clip(0, 255)
    assert (one(tile_seams(rows=[50]), tiled[:2], gt[:2]) > 1.3).all()
    assert one(tile_seams(rows=[30]), tiled[:2], gt[:2]).mean() < 1.2


def test_an_edge_of_the_picture_is_no_seam(gt):
    """A hard edge over a third of the height, misplaced by the result, is an error and not a seam."""
    sharp = np.random.default_rng(3).integers(100, 110, (1, 96, 128, 3), np.uint8)
    moved = sharp.copy()
    sharp[:, 30:60, 64:] += 80
    moved[:, 30:60, 65:] += 80
    assert one("seam_lines", moved, sharp)[0] < 1.1


def test_a_jump_between_segments_is_found_at_its_frame(gt, noisy):
    jumping = noisy.copy()
    jumping[12:] = (jumping[12:].astype(int) + 8).clip(0, 255)
    ratios = one("seam_steps", jumping, gt)
    assert math.isnan(ratios[0]) and np.nanargmax(ratios) == 12 and ratios[12] > 2
    assert np.nanmax(one("seam_steps", noisy, gt)) < 1.1
    at_borders = one(segment_seams([12]), jumping, gt)
    assert np.flatnonzero(~np.isnan(at_borders)).tolist() == [12] and at_borders[12] == ratios[12]


def test_borders_that_cannot_be_are_refused(gt):
    with pytest.raises(OptionError, match="outside of 128x96 frames"):
        one(tile_seams(columns=[128]), gt[:1], gt[:1])
    for make in (tile_seams, lambda: segment_seams([])):
        with pytest.raises(OptionError, match="at least one border"):
            make()


def test_flicker_counts_where_the_reference_stands_still():
    calm = np.repeat(reference(1, 64, 64) // 2, 4, axis=0)  # so that nothing is cut off at 255
    moving = calm.copy()
    moving[:, :, :32] = reference(4, 64, 32) // 2
    flickering = moving.astype(int)
    flickering[1::2] += 4
    flickering = flickering.clip(0, 255).astype(np.uint8)
    values = one("still_flicker", flickering, moving)
    assert math.isnan(values[0]) and values[1:] == pytest.approx(4, abs=0.05)
    assert one("still_flicker", moving, moving)[1:].tolist() == [0, 0, 0]
    assert np.isnan(one("still_flicker", flickering[:, :, :28], moving[:, :, :28])).all()  # nothing stands still
    mask = still(moving[1], moving[0])
    assert mask[:, 34:].all() and not mask[:, 31].any()


def test_flicker_without_ground_truth_takes_the_input():
    lq = np.repeat(reference(1, 32, 32), 3, axis=0)
    hq = lq.repeat(4, 1).repeat(4, 2)
    assert one("still_flicker_lq", hq, lq=lq)[1:].tolist() == [0, 0]
    with pytest.raises(OptionError, match="multiple of the input"):
        one("still_flicker_lq", hq[:, :126], lq=lq)


def test_colours_are_those_of_a_library(gt):
    lab = rgb2lab(gt[0])
    np.testing.assert_allclose(mean_lab(gt[0]), lab.reshape(-1, 3).mean(0), atol=2e-2)
    rng = np.random.default_rng(2)
    for a, b in zip(rng.uniform((0, -80, -80), (100, 80, 80), (20, 3)), rng.uniform(0, 60, (20, 3)), strict=True):
        assert ciede2000(a, b) == pytest.approx(deltaE_ciede2000(a, b), abs=1e-4)


def test_drift_is_the_change_of_the_tint_not_the_tint(gt):
    tinted = (gt[:4] * np.array([1, 0.95, 0.9])).astype(np.uint8)
    assert one("color_error_de00", tinted, gt[:4]).min() > 2
    assert np.nanmax(one("color_drift_de00", tinted, gt[:4])) < 0.15
    drifting = np.stack([(gt[t] * np.array([1, 1 - 0.02 * t, 1])).astype(np.uint8) for t in range(4)])
    drift = one("color_drift_de00", drifting, gt[:4])
    assert math.isnan(drift[0]) and (np.diff(drift[1:]) > 0.5).all()
    lq = gt[:4].reshape(4, 24, 4, 32, 4, 3).mean((2, 4)).round().astype(np.uint8)
    np.testing.assert_allclose(one("color_drift_lq_de00", drifting, lq=lq)[1:], drift[1:], atol=0.3)
    assert one("color_error_de00", DISTORTIONS["offset5"](gt[:1]), gt[:1])[0] > 1
