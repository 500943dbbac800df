from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr.errors import OptionError
from starvsr.windows import (
    Window,
    blend_weights,
    blended_windows,
    released_overlap,
    released_windows,
    split_windows,
)


def assert_covers_once(windows: list[Window], length: int) -> None:
    kept = [i for w in windows for i in range(w.keep_start, w.keep_stop)]
    assert kept == list(range(length))
    for w in windows:
        assert w.start <= w.keep_start < w.keep_stop <= w.stop
        assert list(range(w.start, w.stop))[w.kept] == list(range(w.keep_start, w.keep_stop))


@pytest.mark.parametrize("window", [2, 3, 4, 5, 8, 16, 24, 25, 31, 32, 33])
@pytest.mark.parametrize("place", [blended_windows, released_windows])
def test_windows_cover_each_frame_of_1_to_400_exactly_once(place, window):
    for length in range(1, 401):
        windows = place(length, window)
        assert_covers_once(windows, length)
        assert max(w.length for w in windows) <= 1.25 * window


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 500), st.integers(1, 60), st.data())
def test_split_windows_have_one_size_and_at_least_the_overlap(length, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    windows = split_windows(length, window, overlap)
    assert_covers_once(windows, length)
    assert {w.length for w in windows} == {min(window, length)}
    for left, right in pairwise(windows):
        assert left.stop - right.start >= overlap
        assert left.start < right.start


@pytest.mark.parametrize("length", range(33, 41))
@pytest.mark.parametrize("place", [blended_windows, released_windows])
def test_33_to_40_frames_are_one_window_of_32(place, length):
    assert place(length, 32) == [Window(0, length, 0, length)]


def test_41_frames_are_two_windows_of_32():
    assert len(blended_windows(41, 32)) == 2
    assert [(w.start, w.stop) for w in released_windows(41, 32)] == [(0, 32), (16, 41)]


@pytest.mark.parametrize(("window", "overlap"), [(32, 16), (25, 12), (5, 2), (3, 1), (4, 2), (2, 1)])
def test_released_overlap(window, overlap):
    assert released_overlap(window) == overlap


@pytest.mark.parametrize("blend", ["linear", "cosine", "cut"])
@pytest.mark.parametrize(
    "windows",
    [blended_windows(100, 32), released_windows(50, 25), split_windows(40, 12, 11), [Window(0, 7, 0, 7)]],
)
def test_blend_weights_sum_to_one_everywhere(windows, blend):
    length = windows[-1].stop
    totals = [0.0] * length
    for w, weights in zip(windows, blend_weights(windows, blend), strict=True):
        assert len(weights) == w.length
        assert all(weight >= 0 for weight in weights)
        for j, weight in enumerate(weights):
            totals[w.start + j] += weight
    assert totals == pytest.approx([1.0] * length)


def test_a_linear_ramp_crosses_the_overlap_evenly():
    windows = split_windows(8, 6, 4)
    assert [(w.start, w.stop) for w in windows] == [(0, 6), (2, 8)]
    first, second = blend_weights(windows, "linear")
    assert first == pytest.approx([1, 1, 0.875, 0.625, 0.375, 0.125])
    assert second == pytest.approx(first[::-1])


@pytest.mark.parametrize(("length", "window", "overlap"), [(0, 4, 1), (5, 0, 0), (5, 4, 4), (5, 4, -1)])
def test_impossible_sizes_are_refused(length, window, overlap):
    with pytest.raises(OptionError):
        split_windows(length, window, overlap)
    with pytest.raises(OptionError):
        released_windows(length, window, overlap)
