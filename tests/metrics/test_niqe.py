"""NIQE against golden values of two published implementations, and its parts by other routes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.errors import MissingWeightsError, OptionError, WeightsError
from starvsr.metrics.evaluate import measure
from starvsr.metrics.niqe import Pristine, fit_aggd, half_size, load_pristine, niqe
from tests.metrics.synthetic_clips import DISTORTIONS, reference, sha256

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("perceptual.json").read_text())["niqe"]


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    made = reference(2, 480, 640)
    assert sha256(made) == GOLDEN["clip_sha256"]
    return made


@pytest.mark.parametrize("name", DISTORTIONS)
def test_values_are_the_golden_ones(clip, name):
    try:
        load_pristine()
    except MissingWeightsError as error:
        pytest.skip(str(error))
    frame, expected = DISTORTIONS[name](clip)[:1], GOLDEN["values"][name]
    assert niqe(frame)[0] == pytest.approx(expected["numpy_y_bt601"], rel=1e-3)
    assert niqe(frame, luma="yfull")[0] == pytest.approx(expected["pyiqa_yiq"], rel=1e-3)


def test_the_fit_finds_the_shape_that_values_were_drawn_with():
    """Gaussian values have shape 2, Laplacian 1; sides of different width are told apart."""
    rng = np.random.default_rng(0)
    normal, laplace = rng.normal(0, 1.5, (1, 300, 300)), rng.laplace(0, 1, (1, 300, 300))
    lopsided = np.where(normal < 0, 2 * normal, normal)
    shape, left, right = fit_aggd(np.concatenate([normal, laplace, lopsided]))
    assert shape[:2] == pytest.approx([2, 1], abs=0.05)
    assert left[0] == pytest.approx(1.5 * np.sqrt(2), rel=0.03)  # of the density exp(-(x / scale)^2)
    assert left[2] / right[2] == pytest.approx(2, rel=0.03)
    assert np.isnan(fit_aggd(np.ones((1, 4, 4)))[0][0])  # no value below zero


def test_half_size_is_bicubic_with_antialiasing():
    """Pillow's bicubic reduction has the same kernel; only its borders differ."""
    plane = np.random.default_rng(1).uniform(0, 255, (64, 96))
    pillow = np.asarray(Image.fromarray(plane.astype(np.float32)).resize((48, 32), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(half_size(plane)[3:-3, 3:-3], pillow[3:-3, 3:-3], atol=2e-4)
    ramp = np.broadcast_to(np.arange(32.0), (32, 32))
    np.testing.assert_allclose(half_size(ramp)[5, 3:-3], np.arange(16)[3:-3] * 2 + 0.5)


def test_the_border_is_left_out_and_a_black_frame_has_no_value(clip):
    plain = Pristine(np.zeros(36), np.eye(36))
    photo = clip[:1]
    assert niqe(photo, pristine=plain)[0] > 1
    assert np.isnan(niqe(np.zeros_like(photo), pristine=plain)[0])
    assert niqe(photo, crop_px=50, pristine=plain)[0] == niqe(photo[:, 50:-50, 50:-50], pristine=plain)[0]


def test_what_cannot_be_measured_is_refused(clip, tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="at least 96x96 px after the crop, not 640x90"):
        niqe(clip[:1, :90], pristine=Pristine(np.zeros(36), np.eye(36)))
    (tmp_path / "file.npz").write_bytes(b"PK")
    with pytest.raises(WeightsError, match="does not hold the parameters of NIQE"):
        load_pristine(tmp_path / "file.npz")
    monkeypatch.setattr("starvsr.models.weights.metric_files.find_spec", lambda name: None)
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingWeightsError, match=r"Apache-2.0.*pip install --no-deps mmagic==1.2.0"):
        load_pristine()


def test_the_metric_needs_no_ground_truth(clip):
    try:
        found = measure(clip, metrics=["niqe", "niqe_yfull"], crop_px=0)
    except MissingWeightsError as error:
        pytest.skip(str(error))
    assert found["niqe"].tolist() == niqe(clip).tolist()
    assert found["niqe_yfull"].tolist() == niqe(clip, luma="yfull").tolist()
