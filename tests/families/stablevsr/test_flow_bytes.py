"""Bytes of one optical flow: predicted on the meta device, counted with values; nothing is kept after the call."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from starvsr.families.stablevsr.flow_bytes import flow_bytes
from starvsr.families.stablevsr.footprint import FLOW
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.raft import RaftFlow
from starvsr.offload.footprint import ClipSize
from starvsr.offload.trace import LiveBytes


class Tables(nn.Module):
    """Keeps the table of its last call, as torchvision's block does."""

    def __init__(self) -> None:
        super().__init__()
        self.corr_pyramid = [torch.tensor(0)]


class Raftlike(nn.Module):
    """What of RAFT needs memory: features of every eighth pixel, the table of all pairs, a flow for each update."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 16, 8, stride=8)
        self.corr_block = Tables()
        self.traced: list[tuple[int, ...]] = []

    def forward(self, frames, others, num_flow_updates):
        ours, theirs = (self.features(each).flatten(2) for each in (frames, others))
        table = ours.transpose(1, 2) @ theirs
        self.corr_block.corr_pyramid = [table / 4.0]
        del table
        (table,) = self.corr_block.corr_pyramid
        flow = table.mean(2).view(1, 1, frames.shape[2] // 8, -1).expand(-1, 2, -1, -1)
        return [F.interpolate(flow + number, scale_factor=8.0) for number in range(num_flow_updates)]


def real_raft():
    """torchvision's, which cannot be imported beside every torch."""
    try:
        from torchvision.models.optical_flow import raft_large
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    return raft_large(weights=None)


@torch.no_grad()
def counted(estimator, height, width):
    """Peak bytes of a call, and those that are held after it beside the flow."""
    frames, others = (torch.rand(1, 3, 4 * height, 4 * width) for _ in range(2))
    with LiveBytes([*estimator.network.state_dict().values(), frames, others]) as live:
        flow = estimator(frames, others)
        after = live.live - flow.nbytes
    return live.peak, after


@pytest.mark.parametrize(
    ("kind", "height", "width"),
    [(Raftlike, 32, 34), (Raftlike, 48, 32), (Raftlike, 90, 160), (Raftlike, 136, 136), (real_raft, 32, 34)],
)
def test_the_prediction_is_what_is_counted(kind, height, width):
    torch.manual_seed(0)
    estimator = RaftFlow(kind().eval().requires_grad_(False))
    found, after = counted(estimator, height, width)
    predicted = flow_bytes(estimator, height, width) - 2 * 3 * 4 * 16 * height * width  # the frames
    kept = 10 * 8 * 16 * height * width  # flows of the updates that are not traced
    assert found <= predicted <= found + kept
    assert after == 0


def test_it_is_traced_once_for_each_size(monkeypatch):
    estimator, sizes = RaftFlow(Raftlike()), []
    forward = Raftlike.forward

    def watched(self, frames, others, num_flow_updates):
        sizes.append((*frames.shape[2:], frames.device.type))
        return forward(self, frames, others, num_flow_updates)

    monkeypatch.setattr(Raftlike, "forward", watched)
    for size in ((32, 32), (32, 32), (32, 40)):
        flow_bytes(estimator, *size)
    assert sizes == [(128, 128, "meta"), (128, 160, "meta")]


def test_the_plan_has_it_in_the_phase_of_the_flow(model):
    """The table of a large frame is seen, and a flow without a network takes two copies of the frames."""
    footprint, size = model.pipeline().memory.footprint, ClipSize(2, 90, 160)
    raft = replace(footprint, flow=partial(flow_bytes, RaftFlow(Raftlike())))
    pixels, tokens = 16 * 90 * 160, 16 * 90 * 160 // 64
    assert raft.peak(FLOW, size, StableVSRPlan()).work >= 2 * 4 * tokens**2
    assert footprint.peak(FLOW, size, StableVSRPlan()).work == flow_bytes(DisFlow(), 90, 160) == 2 * 24 * pixels
    assert raft.peak(FLOW, ClipSize(1, 90, 160), StableVSRPlan()).work == 0
