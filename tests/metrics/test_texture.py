"""Detail share, its placing, and the weave: what each is on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from starvsr.errors import OptionError
from starvsr.metrics.texture import detail_correlation, detail_share, weave

Bytes = npt.NDArray[np.uint8]
SIZE = 128


def _frames(plane: npt.NDArray[np.float64]) -> Bytes:
    gray = plane.round().clip(0, 255).astype(np.uint8)
    return np.repeat(gray[None, ..., None], 3, axis=-1)


def _stripes(size: float, period: float = 2.5, axis: int = 1) -> npt.NDArray[np.float64]:
    wave = 128 + size * np.sin(2 * np.pi * np.arange(SIZE) / period)
    return np.broadcast_to(wave if axis else wave[:, None], (SIZE, SIZE))


def test_half_the_stripes_are_half_the_detail_and_rightly_placed() -> None:
    gt, hq = _frames(_stripes(60)), _frames(_stripes(30))
    assert detail_share(gt, hq)[0] == pytest.approx(0.5, abs=0.02)
    assert detail_correlation(gt, hq)[0] == pytest.approx(1, abs=0.01)


def test_stripes_in_the_wrong_place_are_detail_but_not_placed() -> None:
    gt, hq = _frames(_stripes(60)), _frames(256 - _stripes(60))
    assert detail_share(gt, hq)[0] == pytest.approx(1, abs=0.01)
    assert detail_correlation(gt, hq)[0] < -0.95
    across = _frames(_stripes(60, axis=0))
    assert abs(detail_correlation(gt, across)[0]) < 0.05


def test_slow_changes_are_no_detail() -> None:
    gt = _frames(_stripes(60))
    slow = _frames(_stripes(60, period=32))
    assert detail_share(gt, slow)[0] < 0.06
    assert detail_correlation(gt, _frames(np.full((SIZE, SIZE), 128.0)))[0] == 0
    assert detail_share(*[_frames(np.full((SIZE, SIZE), 128.0))] * 2)[0] == 1
    assert np.isinf(detail_share(_frames(np.full((SIZE, SIZE), 128.0)), gt)[0])


def test_the_crop_leaves_the_border_out() -> None:
    gt = _frames(_stripes(60))
    hq = gt.copy()
    hq[:, :8] = 0
    assert detail_share(gt, hq, crop_px=8)[0] == 1
    assert detail_share(gt, hq)[0] != 1


def _noisy(seed: int = 0) -> npt.NDArray[np.float64]:
    return 128 + np.random.default_rng(seed).normal(0, 3, (256, 256))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_pattern_of_four_pixels_is_a_weave(axis: int) -> None:
    wave = np.tile([1.0, 0, -1, 0], 64)
    pattern = np.broadcast_to(wave if axis else wave[:, None], (256, 256))
    plain, faint, strong = (weave(_frames(_noisy() + size * pattern))[0] for size in (0, 0.5, 2))
    assert 0.7 < plain < 1.4
    assert plain < faint < strong and strong > 3
    other = np.broadcast_to(np.tile([1.0, -1], 128), (256, 256))
    assert weave(_frames(_noisy() + 2 * other))[0] < 1.4  # another period


def test_the_weave_is_looked_for_where_it_is_smooth() -> None:
    wave = np.broadcast_to(np.tile([2.0, 0, -2, 0], 64), (256, 256))
    rough = _noisy()
    rough[:128] += np.random.default_rng(1).normal(0, 40, (128, 256)) + wave[:128]
    assert weave(_frames(rough))[0] < 1.5
    rough[128:] += wave[128:]
    assert weave(_frames(rough))[0] > 3


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(OptionError, match="of one size"):
        detail_share(_frames(_noisy()), _frames(_stripes(1)))
    with pytest.raises(OptionError, match="at least 8x8 px"):
        detail_share(_frames(_noisy()), _frames(_noisy()), crop_px=127)
    with pytest.raises(OptionError, match="at least 64x64 px"):
        weave(_frames(_noisy())[:, :60])
