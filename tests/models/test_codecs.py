"""The exact codec: nothing is lost, and means and details are where they should be."""

from __future__ import annotations

import pytest
import torch

from starvsr.models.codecs import PixelUnshuffleCodec


@pytest.mark.parametrize("factor", [2, 4])
def test_round_trip_is_exact(factor: int) -> None:
    codec = PixelUnshuffleCodec(factor)
    pixels = torch.rand(2, 3, 3, 2 * factor, 3 * factor) * 2 - 1
    latents = codec.encode(pixels)
    assert latents.shape == (2, codec.channels, 3, 2, 3)
    assert torch.allclose(codec.decode(latents), pixels, atol=1e-5)


def test_a_cell_holds_its_own_square_only() -> None:
    codec = PixelUnshuffleCodec(4)
    pixels = torch.zeros(1, 3, 1, 8, 8)
    pixels[..., :4, 4:] = torch.rand(1, 3, 1, 4, 4) + 0.1
    latents = codec.encode(pixels)
    assert latents[..., 0, 1].all()
    latents[..., 0, 1] = 0
    assert not latents.any()


def test_flat_colour_has_means_only() -> None:
    codec = PixelUnshuffleCodec(4, mean_scale=0.25)
    latents = codec.encode(torch.full((1, 3, 1, 4, 4), 0.5)).flatten()
    assert latents[::16].tolist() == pytest.approx([0.5] * 3)  # 4 (orthonormal mean of 16) * 0.5 * 0.25
    latents[::16] = 0
    assert latents.abs().max() < 1e-5
