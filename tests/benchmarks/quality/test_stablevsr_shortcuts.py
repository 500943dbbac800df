"""What the table of shortcuts puts in the place of StableVSR's decoder for the guidance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.quality.stablevsr_shortcuts import BothDecoders, GrayPicture, worst_line
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.families.stablevsr.tiles import axes_of_tiles


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


def test_a_line_at_the_border_of_a_tile_stands_out_and_others_do_not() -> None:
    plan = StableVSRPlan(tile_overlap=16, tiles=(1, 2))
    rows, columns = axes_of_tiles(64, 96, plan)
    assert len(rows) == 1 and len(columns) == 2
    whole = torch.randn(2, 3, 256, 384, generator=torch.Generator().manual_seed(0))
    step = torch.zeros(384)
    step[4 * columns[1].start :] = 2.0
    assert worst_line(whole, whole, plan) == pytest.approx(1)
    assert worst_line(whole + step, whole, plan) > 1.5
    assert worst_line(whole + step.roll(40), whole, plan) < 1.1  # a line elsewhere is the picture's
