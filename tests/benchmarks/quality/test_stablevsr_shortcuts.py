"""What the table of shortcuts puts in the place of StableVSR's decoder for the guidance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.quality.stablevsr_shortcuts import BothDecoders, GrayPicture


class Pictures(nn.Module):
    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, latent: Tensor) -> Tensor:
        return self.picture


def test_the_distance_of_both_decoders_is_told_with_and_without_offsets() -> None:
    """An offset of 0.2 (rms, range 2: 20 dB) beside stripes of 0.02 (40 dB)."""
    stripes = 0.02 * torch.tensor([1.0, -1.0]).repeat(4).expand(1, 3, 8, 8)
    offset = 0.2 * torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
    own = torch.zeros(1, 3, 8, 8)
    watched = BothDecoders(Pictures(own + offset + stripes), Pictures(own))
    for _ in range(2):
        assert torch.equal(watched(own), offset + stripes)
    assert watched.psnrs_db() == pytest.approx((19.957, 40), abs=1e-3)


def test_gray_has_the_size_of_the_picture() -> None:
    assert torch.equal(GrayPicture()(torch.randn(2, 4, 5, 6)), torch.zeros(2, 3, 20, 24))
