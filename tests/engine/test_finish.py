"""Finishing frames: the same bytes whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from starvsr.engine.detail import blend_with_enlargement
from starvsr.engine.render import Finish, to_codes
from starvsr.imaging.sharpening import sharpen_frame
from starvsr.models.bicubic import phase_weights
from starvsr.video.pixels import to_unit


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
            looks = ((None, 0.0), (0.3, 0.0), (None, 1.5))
            sizes = [(644 // part, 360 // part, color, True, *look) for part in (1, 2) for look in looks]
            made.append([Finish(*arguments)(codes, lq) for arguments in sizes])
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(np.array_equal(*pair) for pair in zip(made[0], other, strict=True))
    assert made[0][0].shape == (360, 644, 4) and made[0][3].shape == (180, 322, 4)


def test_texture_is_brought_out_before_anything_else() -> None:
    rng = np.random.default_rng(5)
    lq = rng.integers(100, 140, (20, 24, 3), np.uint8)
    codes = rng.integers(30000, 31000, (80, 96, 3), np.uint16)
    before = codes.copy()
    sharpened = sharpen_frame(codes, 0.7, 4)
    for look in ({}, {"color": "wavelet"}, {"detail": 0.4}):
        wanted = Finish(48, 40, **look)(sharpened, lq)
        assert np.array_equal(Finish(48, 40, sharpen=0.7, **look)(codes, lq), wanted)
        assert not np.array_equal(Finish(48, 40, **look)(codes, lq), wanted)
    assert np.array_equal(codes, before)


def _enlarged(lq: np.ndarray, scale: int) -> np.ndarray:
    """Codes of torch's own bicubic interpolation."""
    pixels = F.interpolate(to_unit(lq[None, :, :, :3])[:, 0][None], scale_factor=float(scale), mode="bicubic")[0]
    return to_codes(pixels.clamp(-1, 1).permute(1, 2, 0)).numpy().astype(np.uint16)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (37, 20)])
def test_without_detail_a_frame_is_the_bicubic_enlargement(scale: int, size: tuple[int, int]) -> None:
    lq = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    codes = np.random.default_rng(2).integers(0, 65536, (scale * size[0], scale * size[1], 3), np.uint16)
    before = codes.copy()
    made = blend_with_enlargement(codes, lq, 0.0)
    assert np.abs(made.astype(int) - _enlarged(lq, scale)).max() <= 2 and np.array_equal(codes, before)
    assert np.array_equal(blend_with_enlargement(codes, lq, 1.0), codes)
    half = (codes.astype(int) + _enlarged(lq, scale)) / 2
    assert np.abs(blend_with_enlargement(codes, lq, 0.5) - half).max() <= 2
    assert phase_weights(scale).sum(1) == pytest.approx(np.ones(scale))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_detail_goes_through_colour_transfer_and_final_size(dtype: type) -> None:
    """Whatever the colours of the result, without detail those of the input are left; alpha is not blended."""
    rng = np.random.default_rng(0)
    lq = rng.integers(0, np.iinfo(dtype).max, (20, 33, 4), dtype, endpoint=True)
    codes = rng.integers(0, 65536, (80, 132, 3), np.uint16)
    base = _enlarged(lq, 4)
    level = 1 if dtype == np.uint8 else 3
    for color in ("none", "adain", "wavelet"):
        for width, height in ((132, 80), (66, 40)):
            finish = Finish(width, height, color, keep_alpha=True, detail=0.0)
            made, plain = finish(codes, lq), Finish(width, height, keep_alpha=True)(base, lq)
            assert made.dtype == dtype and np.abs(made.astype(int) - plain).max() <= level
            full = Finish(width, height, color, keep_alpha=True, detail=1.0)(codes, lq).astype(int)
            assert np.abs(full - Finish(width, height, color, keep_alpha=True)(codes, lq)).max() <= level
