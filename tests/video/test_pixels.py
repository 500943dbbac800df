from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.video.pixels import from_unit, to_unit


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 10), (np.uint16, 12), (np.uint16, 16)])
def test_every_code_survives_the_round_trip(dtype: type, bits: int) -> None:
    codes = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    frames = np.stack([codes, codes[::-1], codes], -1).reshape(1, 16, -1, 3)
    unit = to_unit(frames, bits)
    assert unit.dtype == torch.float32
    assert unit.shape == (3, 1, 16, codes.size // 16)
    assert float(unit.min()) == -1.0
    assert float(unit.max()) == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(from_unit(unit, bits), frames)


def test_values_are_rounded_and_clamped() -> None:
    codes = torch.tensor([99.6, 99.4, -3.0, 300.0, float("nan")]) / 127.5 - 1
    frames = from_unit(codes.reshape(1, 1, 1, 5), 8)
    assert frames.ravel().tolist() == [100, 99, 0, 255, 0]


def test_wrong_shape_and_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[T, H, W, C\]"):
        to_unit(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="10 bits"):
        to_unit(np.zeros((1, 4, 4, 3), np.uint8), 10)
    with pytest.raises(ValueError, match=r"\[C, T, H, W\]"):
        from_unit(torch.zeros(3, 4, 4), 8)
