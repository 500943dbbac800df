"""Correlation in chunks: RAFT's features by their formula, value by value, and no table of all pairs in memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from starvsr.models.flow.correlation import ChunkedCorrelation
from starvsr.models.flow.raft import RaftFlow
from starvsr.offload.trace import LiveBytes


def by_formula(ours: Tensor, theirs: Tensor, column: float, row: float, level: int) -> list[float]:
    """Correlation of one pixel's features with the neighbourhood of a place, column by column.

    The mean of 2^level x 2^level products is that of the features' mean, and a place between four cells has their mean
    by distance; what lies outside counts as 0.
    """
    size = 2**level
    pooled = theirs.unfold(1, size, size).unfold(2, size, size).mean((3, 4))
    values = torch.einsum("c,chw->hw", ours, pooled) / math.sqrt(len(ours))
    height, width = values.shape
    found = []
    for dx in range(-4, 5):
        for dy in range(-4, 5):
            x, y = column / size + dx, row / size + dy
            left, top = math.floor(x), math.floor(y)
            total = 0.0
            for i in (top, top + 1):
                for j in (left, left + 1):
                    if 0 <= i < height and 0 <= j < width:
                        total += float(values[i, j]) * (1 - abs(x - j)) * (1 - abs(y - i))
            found.append(total)
    return found


def test_features_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(1, 8, 16, 18, generator=generator) for _ in range(2))
    places = torch.rand(1, 2, 16, 18, generator=generator) * 22 - 3  # some outside of the frame
    block = ChunkedCorrelation(max_scores=7 * 16 * 18)
    block.build_pyramid(ours, theirs)
    made = block.index_pyramid(places)
    assert made.shape == (1, 4 * 81, 16, 18)
    for row, column in ((0, 0), (7, 11), (15, 17)):
        x, y = (float(each) for each in places[0, :, row, column])
        for level in range(4):
            wanted = by_formula(ours[0, :, row, column], theirs[0], x, y, level)
            found = made[0, 81 * level : 81 * (level + 1), row, column]
            torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("max_scores", [1, 1000, 1 << 26])
def test_chunks_change_nothing_but_rounding_and_bound_the_memory(max_scores: int) -> None:
    torch.manual_seed(0)
    features, places = [torch.randn(2, 8, 16, 24) for _ in range(2)], torch.rand(2, 2, 16, 24) * 20
    blocks = [ChunkedCorrelation(max_scores=scores) for scores in (1 << 26, max_scores)]
    made = []
    for block in blocks:
        block.build_pyramid(*features)
        with LiveBytes([*features, places]) as live:
            made.append(block.index_pyramid(places))
    torch.testing.assert_close(made[1], made[0], atol=1e-6, rtol=1e-5)
    table = 4 * (16 * 24) ** 2
    if max_scores < 1 << 26:
        assert live.peak - made[1].nbytes < 0.3 * table + 4 * 81 * 8 * 400
    blocks[1].release()
    with pytest.raises(AssertionError, match="build_pyramid"):
        blocks[1].index_pyramid(places)


class Table(nn.Module):
    """torchvision's block, as far as it is asked: the same features, from a table that is kept."""

    num_levels, radius = 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.corr_pyramid = [torch.tensor(0)]

    def build_pyramid(self, fmap1: Tensor, fmap2: Tensor) -> None:
        table = fmap1.flatten(2).transpose(1, 2) @ fmap2.flatten(2)
        self.corr_pyramid = [table.view(-1, 1, *fmap1.shape[2:])]
        self.features = fmap1, fmap2

    def index_pyramid(self, centroids_coords: Tensor) -> Tensor:
        dense = ChunkedCorrelation(max_scores=1 << 40)
        dense.build_pyramid(*self.features)
        return dense.index_pyramid(centroids_coords)


class Raftlike(nn.Module):
    """Features, correlation, and a flow that follows from it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 8, stride=8)
        self.corr_block: Table | ChunkedCorrelation = Table()

    def forward(self, frames: Tensor, others: Tensor, num_flow_updates: int) -> list[Tensor]:
        self.corr_block.build_pyramid(self.features(frames), self.features(others))
        height, width = (side // 8 for side in frames.shape[2:])
        places = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")).float()[None]
        flows = []
        for _ in range(num_flow_updates):
            seen = self.corr_block.index_pyramid(places)
            places = places + 0.1 * seen[:, :2]
            flows.append(nn.functional.interpolate(seen[:, :2], scale_factor=8.0))
        return flows


def test_an_estimator_in_chunks_shares_the_weights_and_leaves_the_other_as_it_is() -> None:
    torch.manual_seed(0)
    whole = RaftFlow(Raftlike().eval())
    chunked = whole.in_chunks()
    assert chunked is not None
    assert isinstance(chunked.network.corr_block, ChunkedCorrelation) and isinstance(whole.network.corr_block, Table)
    assert chunked.network.features is whole.network.features
    assert len(list(chunked.network.parameters())) == len(list(whole.network.parameters()))
    chunked.network.corr_block.max_scores = 1000
    frames, others = torch.rand(2, 1, 3, 128, 136)
    torch.testing.assert_close(chunked(frames, others), whole(frames, others), atol=1e-5, rtol=1e-5)
    assert chunked.network.corr_block._features is None, "nothing is kept after a call"


def test_a_network_without_such_a_table_is_not_chunked() -> None:
    assert RaftFlow(nn.Conv2d(3, 2, 1)).in_chunks() is None


def test_torchvisions_own_network_gives_the_same() -> None:
    """With random weights; skipped where torchvision cannot be imported."""
    try:
        from torchvision.models.optical_flow import raft_large
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    torch.manual_seed(0)
    whole = RaftFlow(raft_large(weights=None).eval())
    chunked = whole.in_chunks()
    assert chunked is not None
    chunked.network.corr_block.max_scores = 1000
    frames, others = torch.rand(2, 1, 3, 128, 136) * 2 - 1
    torch.testing.assert_close(chunked(frames, others), whole(frames, others), atol=1e-4, rtol=1e-4)
