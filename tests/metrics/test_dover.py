"""DOVER as users meet it: views, scores, averaging over draws, the metrics, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from starvsr.errors import MissingWeightsError, OptionError
from starvsr.metrics.dover import metrics
from starvsr.metrics.dover.network import Dover
from starvsr.metrics.dover.scores import ClipSampler, DoverScores, dover, remembering
from starvsr.metrics.dover.views import aesthetic_view, draw_grid, enlarged
from starvsr.metrics.evaluate import measure
from starvsr.metrics.registry import available
from tests.metrics.dover_filled import clip, filled


def test_fusion_by_hand():
    """One standard deviation up and one down: sigmoid(1), sigmoid(-1), sigmoid(0.6104 - 0.3896)."""
    scores = DoverScores(technical=0.1107 + 0.07355, aesthetic=-0.08285 - 0.03774)
    assert scores.technical_quality == pytest.approx(0.7310586, abs=1e-6)
    assert scores.aesthetic_quality == pytest.approx(0.2689414, abs=1e-6)
    assert scores.overall == pytest.approx(0.5549768, abs=1e-6)
    assert math.isnan(DoverScores(0.1, math.nan).overall) and DoverScores(-1e6, 0).overall == pytest.approx(0)


def test_fragments_lie_in_their_cells():
    y, x = np.mgrid[:480, :300]
    frame = np.stack([y % 256, x % 256, y // 256 * 2 + x // 256], -1).astype(np.uint8)
    grid = draw_grid(480, 300, np.random.default_rng(0))
    mosaic = grid.cut(frame)
    assert mosaic.shape == (224, 224, 3)
    for i, j in np.ndindex(7, 7):
        top, left = int(grid.tops[i, j]), int(grid.lefts[i, j])
        assert 0 <= top - i * 68 < 36 and 0 <= left - j * 42 < 10
        part = mosaic[32 * i : 32 * i + 32, 32 * j : 32 * j + 32]
        assert (part == frame[top : top + 32, left : left + 32]).all()
    assert len(np.unique(grid.tops - np.arange(7)[:, None] * 68)) > 15  # an offset for each cell


def test_small_frames_are_enlarged_and_cut_without_offsets():
    frame = clip(1, 180, 320)[0]
    large = enlarged(frame)
    assert large.shape == (224, 398, 3) and enlarged(clip(1, 224, 300)[0]).shape == (224, 300, 3)
    grid = draw_grid(180, 320, np.random.default_rng(0))
    assert grid.tops[:, 0].tolist() == [0, 25, 50, 75, 100, 125, 148]  # as published: the grid of the small frame
    assert (grid.tops == grid.tops[:, :1]).all() and grid.cut(large).shape == (224, 224, 3)
    with pytest.raises(OptionError, match="at least 32x32 px after the crop, not 320x31"):
        draw_grid(31, 320, np.random.default_rng(0))


@pytest.mark.parametrize(("height", "width"), [(100, 150), (224, 224), (500, 333)])
def test_whole_frames_are_made_small_by_two_neighbours(height, width):
    frame = clip(1, height, width)[0].astype(np.float64)

    def take(values: np.ndarray, axis: int) -> np.ndarray:
        side = values.shape[axis]
        at = np.maximum((np.arange(224) + 0.5) * side / 224 - 0.5, 0)
        low = np.floor(at).astype(int)
        share = (at - low).reshape([-1 if one == axis else 1 for one in range(3)])
        high = np.minimum(low + 1, side - 1)
        return values.take(low, axis) * (1 - share) + values.take(high, axis) * share

    found = aesthetic_view(frame.astype(np.uint8)).astype(float)
    assert np.abs(found - take(take(frame, 0), 1)).max() <= 0.51  # half a level, and places in float32


class Pooled(nn.Module):
    """Means of the colours of every eighth pixel: a network that is done at once."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., ::8, ::8].mean((2, 3, 4), keepdim=True)


@pytest.fixture
def network() -> Dover:
    return filled(Dover(Pooled(), Pooled(), channels=3))


def test_the_same_seed_gives_the_same_scores_and_draws_are_averaged(network):
    frames = clip(20, 240, 256)
    first = dover(frames, draws=2, network=network)
    assert dover(iter(frames), draws=2, network=network) == first
    assert dover(frames, draws=2, seed=1, network=network).technical != first.technical
    sampler = ClipSampler(2)
    for frame in frames:
        sampler.take(frame)
    technical = sampler.drawn("technical")
    assert [len(one) for one in technical] == [3, 3] and technical[0][0].shape == (32, 224, 224, 3)
    assert (technical[0][0] != technical[1][0]).any() and (technical[0][0] != technical[0][1]).any()
    with torch.inference_mode():
        raw = [float(network(torch.from_numpy(one[None]), "technical")) for draw in technical for one in draw]
        small = [float(network(torch.from_numpy(one[0][None]), "aesthetic")) for one in sampler.drawn("aesthetic")]
    assert first.technical == pytest.approx(np.mean(raw)) and first.aesthetic == pytest.approx(np.mean(small))


def test_a_picture_has_scores_and_nothing_has_none(network):
    assert np.isfinite(dover(clip(1, 100, 120), draws=1, network=network).overall)
    assert math.isnan(dover([], network=network).overall)
    with pytest.raises(OptionError, match="frames of one size"):
        dover([clip(1, 64, 64)[0], clip(1, 64, 65)[0]], network=network)
    with pytest.raises(OptionError, match="at least 1 draw"):
        dover([], draws=0, network=network)


def test_metrics_give_a_value_for_the_clip_and_compute_each_view_once(network, monkeypatch):
    calls: list[str] = []

    class Counting(Dover):
        def forward(self, given, view):
            calls.append(view)
            return network(given, view)

    score = remembering(Counting(Pooled(), Pooled(), channels=3))
    monkeypatch.setattr(metrics, "published", lambda device: score)
    frames = clip(2, 240, 256)
    found = measure(frames, metrics=["dover", "dover_technical", "dover_aesthetic"], crop_px=8)
    expected = dover(frames[:, 8:-8, 8:-8], network=network)
    for name, value in {
        "dover": expected.overall,
        "dover_technical": expected.technical_quality,
        "dover_aesthetic": expected.aesthetic_quality,
    }.items():
        assert np.isnan(found[name][:-1]).all() and found[name][-1] == pytest.approx(value)
    assert calls.count("technical") == 4 * 3 and calls.count("aesthetic") == 1  # four draws of the first frame


def test_what_is_missing_is_told_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("STARVSR_ACCEPT_NON_COMMERCIAL", raising=False)
    assert "STARVSR_ACCEPT_NON_COMMERCIAL=dover" in available(["dover"]).missing["dover"]
    monkeypatch.setenv("STARVSR_ACCEPT_NON_COMMERCIAL", "dover")
    message = available(["dover_technical"]).missing["dover_technical"]
    assert "the metric dover_technical needs DOVER.pth" in message and "v0.1.0/DOVER.pth" in message
    with pytest.raises(MissingWeightsError, match=r"S-Lab License 1\.0"):
        dover(clip(1, 64, 64))
