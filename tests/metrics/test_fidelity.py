from __future__ import annotations

import math

import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.metrics.evaluate import measure
from starvsr.metrics.fidelity import psnr, psnr_y, ssim
from starvsr.metrics.multiscale_ssim import ms_ssim
from tests.metrics.synthetic_clips import DISTORTIONS, sha256

KEYS = {"rgb": "psnr_rgb_per_frame", "y601": "psnr_y_bt601_16_235", "yfull": "psnr_y_full_range"}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_psnr_and_ssim_match_the_golden_values(reference, golden, name):
    distorted = DISTORTIONS[name](reference)
    expected = golden["frames"][name]
    assert sha256(distorted) == expected["sha256"]
    gt, hq = reference[:2], distorted[:2]
    for color, key in KEYS.items():
        np.testing.assert_allclose(psnr(gt, hq, color=color), [float(v) for v in expected[key][:2]], atol=1e-4)
    np.testing.assert_allclose(
        psnr(gt, hq, color="rgb", crop_px=4), [float(v) for v in expected["psnr_rgb_crop4"][:2]], atol=1e-4
    )
    np.testing.assert_allclose(ssim(gt, hq, color="rgb"), expected["ssim_skimage_rgb"][:2], atol=2e-5)
    np.testing.assert_allclose(ssim(gt, hq), expected["ssim_skimage_y_bt601_float"][:2], atol=2e-5)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_each_variant_is_a_metric_with_the_golden_values(reference, golden, name):
    gt, hq, expected = reference[:2], DISTORTIONS[name](reference)[:2], golden["frames"][name]
    keys = {
        "psnr_y_db": ("psnr_y_bt601_16_235", 1e-4),
        "psnr_yfull_db": ("psnr_y_full_range", 1e-4),
        "psnr_rgb_db": ("psnr_rgb_per_frame", 1e-4),
        "ssim_y": ("ssim_skimage_y_bt601_float", 2e-5),
        "ssim_rgb": ("ssim_skimage_rgb", 2e-5),
        "ms_ssim_y": ("ms_ssim_pyiqa", 2e-5),
    }
    found = measure(hq, gt, metrics=list(keys), crop_px=0)
    for metric, (key, tolerance) in keys.items():
        np.testing.assert_allclose(found[metric], [float(v) for v in expected[key][:2]], atol=tolerance)


def test_ms_ssim_tells_its_least_size_and_leaves_the_border_out(reference):
    gt = reference[:1, :192, :195]  # an odd width: the last column of a scale is left out
    hq = gt.copy()
    hq[:, :8] = 0
    assert ms_ssim(gt, gt)[0] == 1
    assert ms_ssim(gt, hq)[0] < 0.995
    assert ms_ssim(gt, hq, crop_px=8)[0] == 1
    ms_ssim(gt[:, :176], hq[:, :176])
    with pytest.raises(OptionError, match="at least 176x176 px, not 195x175"):
        ms_ssim(gt[:, :175], hq[:, :175])


def test_psnr_of_a_known_error():
    gt = np.full((1, 4, 4, 3), 100, np.uint8)
    assert psnr(gt, gt + 1, color="rgb")[0] == pytest.approx(20 * math.log10(255))
    # one grey level is 219/255 of a level of studio luma
    assert psnr_y(gt, gt + 1)[0] == pytest.approx(20 * math.log10(255 * 255 / 219))


def test_crop_leaves_out_errors_at_the_border():
    gt = np.zeros((1, 32, 32, 3), np.uint8)
    hq = gt.copy()
    hq[:, :8] = 255
    assert psnr_y(gt, hq)[0] < 20
    assert np.isinf(psnr_y(gt, hq, crop_px=8)[0])
    assert ssim(gt, hq, crop_px=8)[0] == 1


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        ((1, 16, 16, 3), (1, 16, 15, 3), {}),
        ((16, 16, 3), (16, 16, 3), {}),
        ((1, 16, 16, 3), (1, 16, 16, 3), {"crop_px": 8}),
        ((1, 16, 16, 3), (1, 16, 16, 3), {"color": "lab"}),
    ],
)
def test_unusable_input_is_refused(a, b, options):
    with pytest.raises(OptionError):
        psnr(np.zeros(a, np.uint8), np.zeros(b, np.uint8), **options)


def test_ssim_needs_one_whole_window():
    clip = np.zeros((1, 11, 10, 3), np.uint8)
    with pytest.raises(OptionError, match="11 px"):
        ssim(clip, clip)
