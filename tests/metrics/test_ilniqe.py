"""ILNIQE against values of pyiqa on a template by a formula, and its parts by other routes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from starvsr.errors import MissingWeightsError, OptionError, WeightsError
from starvsr.metrics import ilniqe as module
from starvsr.metrics.evaluate import measure
from starvsr.metrics.ilniqe import block_features, ilniqe, load_template, resize_weights
from starvsr.metrics.ilniqe_features import _gradients, _log_gabor, fit_weibull, halved
from starvsr.metrics.registry import available
from tests.metrics.ilniqe_template import template, write_template
from tests.metrics.synthetic_clips import DISTORTIONS, reference, sha256

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("ilniqe.json").read_text())


@pytest.mark.parametrize("name", ["noise24", pytest.param("identical", marks=pytest.mark.slow)])
def test_values_are_the_golden_ones(name, monkeypatch):
    clip = reference(1, 270, 480)
    assert sha256(clip) == GOLDEN["clip_sha256"]
    frame, expected = DISTORTIONS[name](clip)[0], GOLDEN["values"][name]
    features = block_features(frame)
    np.testing.assert_allclose(features.mean(0), expected["feature_means"], rtol=2e-3, atol=1e-4)
    monkeypatch.setattr(module, "block_features", lambda given: features)
    assert ilniqe(frame[None], template=template())[0] == pytest.approx(expected["score"], rel=1e-5)


def test_frames_are_resized_as_pillow_does():
    """Pillow's bicubic is antialiased with the same kernel; at borders it renormalises instead of mirroring."""
    row = np.random.default_rng(0).uniform(0, 255, 700)
    for before, after in ((700, 524), (300, 524), (524, 524)):
        plane = np.repeat(row[None, :before], 4, 0).astype(np.float32)
        pillow = np.asarray(Image.fromarray(plane).resize((after, 4), Image.Resampling.BICUBIC))[1]
        found = resize_weights(before, after) @ row[:before]
        np.testing.assert_allclose(found[5:-5], pillow[5:-5], atol=2e-3)
    np.testing.assert_allclose(resize_weights(9, 9), np.eye(9), atol=1e-12)


def test_the_weibull_fit_finds_what_values_were_drawn_with():
    rng = np.random.default_rng(0)
    drawn = np.stack([scale * rng.weibull(shape, 20_000) for scale, shape in ((3, 0.7), (900, 1.0), (0.02, 4))])
    scale, shape = fit_weibull(drawn)
    np.testing.assert_allclose(scale, [3, 900, 0.02], rtol=0.05)
    np.testing.assert_allclose(shape, [0.7, 1, 4], rtol=0.05)
    best_shape, _, best_scale = stats.weibull_min.fit(drawn[0], floc=0)
    assert (scale[0], shape[0]) == pytest.approx((best_scale, best_shape), rel=1e-4)
    assert np.isnan(fit_weibull(np.full((1, 50), 1e-4))[1][0])  # a flat block


def test_gradients_and_halving_are_those_of_scipy():
    plane = np.random.default_rng(1).uniform(0, 255, (1, 40, 52))
    offsets = np.arange(-5, 6)
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    bell = np.exp(-(x**2 + y**2) / (2 * 1.66**2))
    along_x, along_y = _gradients(plane, 1.66)
    np.testing.assert_allclose(along_x[0], ndimage.convolve(plane[0], x * bell, mode="constant"), atol=1e-9)
    np.testing.assert_allclose(along_y[0], ndimage.convolve(plane[0], y * bell, mode="constant"), atol=1e-9)
    weights = np.exp(-((np.arange(6) - 2.5) ** 2) / (2 * 0.9**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    blurred = ndimage.correlate(plane[0], kernel, mode="nearest", origin=(-1, -1))  # two taps before, three behind
    np.testing.assert_allclose(halved(plane)[0], blurred[::2, ::2], atol=1e-9)


def test_log_gabor_filters_pass_their_band_and_orientation():
    filters = _log_gabor(504, 504, 1)
    assert filters.shape == (12, 504, 504) and (filters[:, 0, 0] == 0).all()
    for index, one in enumerate(filters):
        row, column = np.unravel_index(one.argmax(), one.shape)
        fy, fx = np.fft.fftfreq(504)[[row, column]]
        assert np.hypot(fx, fy) == pytest.approx(1 / (2.4 * 1.31 ** (index // 4)), abs=3e-3)
        assert np.arctan2(-fy, fx) == pytest.approx(index % 4 * np.pi / 4, abs=0.01)


def test_the_template_is_read_and_checked(tmp_path, monkeypatch):
    path = tmp_path / "ILNIQE_templateModel.mat"
    write_template(path)
    loaded, made = load_template(path), template()
    for name in ("mean", "covariance", "sample_mean", "components"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="does not hold the template of ILNIQE"):
        load_template(path)
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path / "none"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "none"))
    monkeypatch.delenv("STARVSR_ACCEPT_NON_COMMERCIAL", raising=False)
    assert "STARVSR_ACCEPT_NON_COMMERCIAL=ilniqe-template" in available(["ilniqe"]).missing["ilniqe"]
    monkeypatch.setenv("STARVSR_ACCEPT_NON_COMMERCIAL", "ilniqe-template")
    with pytest.raises(MissingWeightsError, match=r"ILNIQE_templateModel\.mat.*v0\.1-weights"):
        load_template()


def test_blocks_without_statistics_are_left_out(monkeypatch):
    features = np.random.default_rng(0).normal(size=(36, 468))
    holes = features.copy()
    holes[3, 7] = np.nan
    given = iter([features, holes, np.full_like(features, np.nan)])
    monkeypatch.setattr(module, "block_features", lambda frame: next(given))
    monkeypatch.setattr(module, "_published", template)
    whole, without, nothing = measure(np.zeros((3, 64, 64, 3), np.uint8), metrics=["ilniqe"], crop_px=0)["ilniqe"]
    assert whole > 0 and without == pytest.approx(whole, rel=0.1) and np.isnan(nothing)


def test_frames_that_are_too_small_are_refused():
    with pytest.raises(OptionError, match="at least 32x32 px after the crop, not 40x24"):
        ilniqe(np.zeros((1, 40, 56, 3), np.uint8), crop_px=8, template=template())
