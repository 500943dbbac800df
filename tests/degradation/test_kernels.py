from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.degradation.kernels import (
    KernelRanges,
    bell_kernel,
    draw_final_sinc,
    draw_kernel,
    filter_clip,
    pad_kernel,
    sinc_kernel,
    trim_kernel,
)


@pytest.mark.parametrize("shape", ["gaussian", "generalized", "plateau"])
def test_bell_kernels_sum_to_one_and_peak_in_the_middle(shape: str) -> None:
    kernel = bell_kernel(13, 2.0, 0.7, 0.5, shape=shape, beta=1.3)
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel.argmax() == kernel.size // 2
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-15)


def test_gaussian_has_the_standard_deviation_asked_for() -> None:
    kernel = bell_kernel(21, 2.0, 1.0)
    offsets = np.arange(21) - 10
    assert np.sqrt((kernel.sum(0) * offsets**2).sum()) == pytest.approx(2.0, rel=1e-3)  # x lies along the rows
    assert np.sqrt((kernel.sum(1) * offsets**2).sum()) == pytest.approx(1.0, rel=1e-3)


def test_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kernel shape"):
        bell_kernel(7, 1.0, 1.0, shape="box")


def test_sinc_kernel_passes_low_and_stops_high_frequencies() -> None:
    response = np.abs(np.fft.fft2(pad_kernel(sinc_kernel(21, 1.2), 65)))
    assert response[0, 0] == pytest.approx(1.0)
    frequencies = 2 * np.pi * np.fft.fftfreq(65)
    radius = np.hypot(*np.meshgrid(frequencies, frequencies))
    assert response[radius < 0.5].min() > 0.8
    assert response[radius > 2.4].max() < 0.1


def test_drawn_kernels_are_odd_square_and_normalised() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        for kernel in (draw_kernel(rng, KernelRanges()), draw_final_sinc(rng)):
            assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
            assert kernel.sum() == pytest.approx(1.0)
            assert np.isfinite(kernel).all()


def test_trimming_changes_next_to_nothing() -> None:
    wide = bell_kernel(21, 0.6, 0.6)
    narrow = trim_kernel(wide)
    assert narrow.shape[0] < 9
    np.testing.assert_allclose(pad_kernel(narrow, 21), wide, atol=2e-4)
    flat = np.full((5, 5), 0.04)
    assert trim_kernel(flat) is flat


def test_filtering_correlates_and_reflects() -> None:
    clip = torch.zeros(2, 3, 6, 7)
    clip[0, 1, 0, 3] = 1.0
    kernel = np.zeros((3, 3))
    kernel[0, 1], kernel[1, 1] = 0.25, 0.75  # each pixel takes a quarter of the pixel above it
    filtered = filter_clip(clip, kernel)
    assert filtered[0, 1, 0, 3] == 0.75
    assert filtered[0, 1, 1, 3] == 0.25
    assert filtered.sum() == 1.0
    clip[0, 1] = 0
    clip[0, 1, 1, 3] = 1.0
    assert filter_clip(clip, kernel)[0, 1, 0, 3] == 0.25  # row 1 mirrored above row 0


def test_filtering_keeps_flat_pictures_even_when_smaller_than_the_kernel() -> None:
    flat = torch.full((1, 3, 4, 30), 0.3)
    torch.testing.assert_close(filter_clip(flat, bell_kernel(21, 3.0, 3.0)), flat)
