"""The measurement of the repairs: what it says is what the documents say."""

from __future__ import annotations

import pytest

from benchmarks.published.star_repairs import padded_share, rounding_bias, window_joins


def test_padding() -> None:
    shares = padded_share(320, 180)  # 1280x720 fits as it is
    assert shares == {"released": 1.0, "minimal": 1.0}
    shares = padded_share(336, 196)  # 1344x784 fits as well, but the released code adds 64 to each side
    assert shares["minimal"] == 1.0 and shares["released"] == pytest.approx(1408 * 848 / (1344 * 784))


def test_rounding() -> None:
    bias = rounding_bias()
    assert bias["released"] == pytest.approx(-0.5, abs=0.01) and bias["nearest"] == pytest.approx(0.0, abs=0.01)


def test_blending_joins_more_smoothly_than_cutting_the_same_windows() -> None:
    blended, cut = window_joins("blend"), window_joins("blend", "cut")
    assert blended["change"] < 0.9 * cut["change"]
    assert blended["frames"] == 96 and window_joins("released")["frames"] == 104
