from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.methods import AnimeVideo, bicubic
from starvsr.errors import MissingWeightsError


def test_bicubic_keeps_flat_colours_and_quadruples_the_size():
    lq = np.empty((2, 6, 5, 3), np.uint8)
    lq[:] = (0, 128, 255)
    hq = bicubic(lq)
    assert hq.shape == (2, 24, 20, 3)
    assert hq.dtype == np.uint8
    assert (hq == (0, 128, 255)).all()


def test_bicubic_clips_its_overshoot():
    lq = np.zeros((1, 8, 8, 3), np.uint8)
    lq[:, :, 4:] = 255
    row = bicubic(lq)[0, 16, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()


def test_missing_model_files_are_told(tmp_path):
    pytest.importorskip("ncnn")
    with pytest.raises(MissingWeightsError, match=r"realesr-animevideov3-x4.param: there is no such file.*video2x"):
        AnimeVideo(tmp_path)
