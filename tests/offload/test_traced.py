"""Traced footprints: a network whose memory is known by hand, and what is kept of traces."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.offload import traced as traced_module
from starvsr.offload.footprint import ClipSize, Phase, PlanLimits
from starvsr.offload.memory_plan import MemoryPlan
from starvsr.offload.trace import FusedAttention, LiveBytes
from starvsr.offload.traced import ComponentBytes, LinearFit, TracedFootprint, TracedPhase, trace_footprint
from starvsr.offload.weights import Component

SIZES = (ClipSize(2, 8, 8), ClipSize(2, 16, 16), ClipSize(4, 16, 16))


class Doubling(nn.Module):
    """Holds one map of 4 channels, one of 8 and, at its end, a map of one frame of 2 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
        self.calls = 0

    def forward(self, frames: Tensor) -> Tensor:
        self.calls += 1
        wide = self.second(self.first(frames))  # 12 float32 values for each cell and frame
        return torch.stack([wide[:1, :2], wide[:1, :2]])


def _footprint(network: Doubling, cache: Path | None = None, key: str = "") -> TracedFootprint:
    phase = TracedPhase(
        Phase("draw", "drawing", ("hand",)),
        lambda clip: (torch.empty(clip.num_frames, 3, clip.height, clip.width, device="meta"),),
        network,
        lambda clip: 100 * clip.num_frames,
        SIZES,
        max_frames=8,
        tiled=True,
    )
    components = {"hand": Component(network, [network.first, network.second])}
    return trace_footprint(components, [phase], shortest_tile=8, cell_step=4, cache=cache, key=key)


@pytest.fixture
def network() -> Doubling:
    with torch.device("meta"):
        return Doubling()


def test_the_peak_is_that_of_the_largest_call(network: Doubling) -> None:
    footprint = _footprint(network)
    peak = footprint.peak("draw", ClipSize(6, 20, 24), MemoryPlan())
    assert (peak.clip, peak.work) == (600, 4 * 12 * 6 * 20 * 24)
    assert footprint.peak("draw", ClipSize(50, 20, 24), MemoryPlan()).work == 4 * 12 * 8 * 20 * 24  # 8 frames at once
    tiled = MemoryPlan(tiles=(1, 2), tile_overlap=4)
    assert footprint.peak("draw", ClipSize(6, 20, 24), tiled).work == 4 * 12 * 6 * 20 * 16  # 14 columns, up to a step
    assert footprint.tile_work(ClipSize(6, 20, 24), tiled) == pytest.approx(32 / 24)


def test_weights_by_place(network: Doubling) -> None:
    footprint = _footprint(network)
    total = 4 * (3 * 4 + 4 + 4 * 8 + 8)
    assert [footprint.weights(place, "draw") for place in ("resident", "offload", "stream")] == [total] * 3
    three = nn.Sequential(nn.Linear(9, 9), nn.Linear(4, 4), nn.Linear(5, 5), nn.Linear(2, 2, bias=False))
    sizes = ComponentBytes.of(Component(three, list(three)[:3]))
    assert sizes == ComponentBytes(4 * (90 + 20 + 30 + 4), 4 * (90 + 20 + 4))  # two neighbours, and what stays


def test_candidates_respect_their_limits(network: Doubling) -> None:
    footprint, clip = _footprint(network), ClipSize(6, 32, 32)
    plans = footprint.candidates(clip, PlanLimits(tile_overlap=2))
    assert plans[0] == MemoryPlan(tile_overlap=2) and MemoryPlan("stream", (2, 2), 2) in plans
    assert {plan.tiles for plan in footprint.candidates(clip, PlanLimits(tiles=(3, 3)))} == {(3, 3)}
    on_cpu = dataclasses.replace(footprint, device="cpu")
    assert {plan.place for plan in on_cpu.candidates(clip, PlanLimits())} == {"resident"}


def test_traces_are_kept_and_read(network: Doubling, tmp_path: Path) -> None:
    first = _footprint(network, tmp_path / "cache", "one")
    assert network.calls == 3
    again = _footprint(network, tmp_path / "cache", "one")
    assert network.calls == 3 and again.fits == first.fits
    _footprint(network, tmp_path / "cache", "another configuration")
    assert network.calls == 6


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"draw": {"constant": "a", "per_cell": 1, "per_frame_cell": 1}}'])
def test_damaged_traces_are_made_again(network: Doubling, tmp_path: Path, damage: str) -> None:
    first = _footprint(network, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text()).keys() == {"draw"}
    kept.write_text(damage)
    assert _footprint(network, tmp_path).fits == first.fits and network.calls == 6


def test_a_folder_that_cannot_be_written_is_no_error(network: Doubling, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _footprint(network, tmp_path / "file" / "cache").fits


def test_sizes_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(ValueError, match="differ first in cells"):
        LinearFit.through((SIZES[0], SIZES[0], SIZES[2]), [1, 2, 3])
    fit = LinearFit.through(SIZES, [1000 + 5 * 64 + 7 * 2 * 64, 1000 + 5 * 256 + 7 * 512, 1000 + 5 * 256 + 7 * 1024])
    assert fit.at(ClipSize(10, 10, 10)) == 1000 + 500 + 7000
    assert LinearFit(-10.0, 0.0, 0.0).at(SIZES[0]) == 0


def test_attention_on_the_meta_device_has_no_table() -> None:
    tokens = torch.empty(1, 2, 1000, 8, device="meta")
    with torch.no_grad(), FusedAttention(), LiveBytes([tokens]) as live:
        F.scaled_dot_product_attention(tokens, key=tokens, value=tokens)
    assert live.peak == 4 * (2 * 1000 * 8 + 2 * 1000)  # the result, and a number for each query and head


def test_the_cache_key_knows_versions(network: Doubling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _footprint(network, tmp_path)
    monkeypatch.setattr(traced_module, "__version__", "another")
    _footprint(network, tmp_path)
    assert network.calls == 6
