"""Finishing frames: the same bytes whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.engine.render import Finish


@pytest.mark.parametrize("color", ["none", "adain", "wavelet"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_number_of_threads_changes_no_byte(color: str, dtype: type) -> None:
    """Frames are large enough for torch to share the work among threads."""
    rng = np.random.default_rng(0)
    lq = rng.integers(0, np.iinfo(dtype).max, (90, 161, 4), dtype, endpoint=True)
    codes = rng.integers(0, 65536, (360, 644, 3), np.uint16)
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            made.append([Finish(644 // part, 360 // part, color, keep_alpha=True)(codes, lq) for part in (1, 2)])
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(np.array_equal(*pair) for pair in zip(made[0], other, strict=True))
    assert made[0][0].shape == (360, 644, 4) and made[0][1].shape == (180, 322, 4)
