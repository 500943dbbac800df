"""The VGG distance of windows: all cells are the frame, draws are fair, their scatter is the standard error."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from starvsr.errors import OptionError
from starvsr.metrics import vgg_sampled
from starvsr.metrics.evaluate import measure
from starvsr.metrics.vgg_distance import vgg_distance
from starvsr.models.vgg16 import Vgg16
from starvsr.models.vgg16_distance import frame_distances, layers_of
from starvsr.models.vgg16_windows import UNIT_PX, _window, cell_distances, cells_of

WIDTHS = ((2, 3), (3, 2), (2, 2, 4), (3, 3, 3), (2, 2, 2))


@pytest.fixture(scope="module")
def trunk() -> Vgg16:
    torch.manual_seed(0)
    network = Vgg16(WIDTHS)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network.requires_grad_(False)


@pytest.fixture
def shipped(trunk: Vgg16, monkeypatch: pytest.MonkeyPatch) -> Vgg16:
    monkeypatch.setattr(vgg_sampled, "shipped", lambda device: trunk)
    return trunk


def _clip(seed: int, num_frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width", "cell_px"), [(720, 1280, 96), (75, 141, 32), (16, 16, 96), (270, 97, 96)])
def test_cells_are_a_frame_once(height: int, width: int, cell_px: int) -> None:
    seen = np.zeros((height, width), int)
    sides = set()
    for cell in cells_of(height, width, cell_px):
        assert cell.top % UNIT_PX == 0 and cell.left % UNIT_PX == 0
        seen[cell.top : cell.bottom, cell.left : cell.right] += 1
        sides |= {cell.bottom - cell.top} if cell.bottom < height else set()
    assert (seen == 1).all()
    assert not sides or max(sides) - min(sides) <= UNIT_PX


@pytest.mark.parametrize("threads", [1, 2])
def test_all_cells_with_all_that_they_see_are_the_frame(trunk: Vgg16, threads: int) -> None:
    hq, gt = (torch.from_numpy(_clip(seed, 1, 75, 141)[0]).permute(2, 0, 1) for seed in (1, 2))
    layers = layers_of(trunk, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sums, counts = cell_distances(layers, trunk.mean, (hq, gt), cells_of(75, 141, 32), margin_px=160)
    finally:
        torch.set_num_threads(before)
    whole = frame_distances(layers, trunk.mean, hq[None], gt[None])
    assert (sums.sum(0) / counts.sum(0)).sum().item() == pytest.approx(whole.item(), rel=1e-5)
    assert counts[:, 0].sum() == 75 * 141 and counts[:, 4].sum() == 5 * 9


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (270, 480), (200, 300), (100, 150), (64, 195)])
def test_what_is_read_holds_the_cell_and_its_margin(height: int, width: int) -> None:
    for cell in cells_of(height, width, 96):
        for first, last, side in ((cell.left, cell.right, width), (cell.top, cell.bottom, height)):
            start, end = _window(first, last, side, 32, 160)
            assert start % UNIT_PX == 0 and 0 <= start <= max(0, first - 32)
            assert min(side, last + 32) <= end <= side
            if side >= 160:
                assert 160 <= end - start < 160 + UNIT_PX
                assert end - start == 160 or side % UNIT_PX


def test_draws_are_fair() -> None:
    count = drawn = 0
    for index in range(370):  # ten rounds of a 720p frame
        cells, count = vgg_sampled.drawn_cells(720, 1280, index)
        assert len(set(cells)) == vgg_sampled.WINDOWS
    rounds = count // vgg_sampled.WINDOWS
    assert count == 112 and rounds == 37
    of_round = Counter(cell for index in range(rounds) for cell in vgg_sampled.drawn_cells(720, 1280, index)[0])
    assert max(of_round.values()) == 1 and len(of_round) == rounds * vgg_sampled.WINDOWS
    every = Counter(cell for index in range(100 * rounds) for cell in vgg_sampled.drawn_cells(720, 1280, index)[0])
    assert len(every) == count and min(every.values()) > 90  # of 100 rounds, each cell is left out of 1 %
    drawn = [vgg_sampled.drawn_cells(720, 1280, index)[0] for index in (0, rounds)]
    assert drawn[0] != drawn[1]
    assert len(vgg_sampled.drawn_cells(40, 50, 7)[0]) == 1


def test_a_frame_of_one_cell_is_measured_as_a_whole(shipped: Vgg16) -> None:
    gt, hq = _clip(1, 3, 60, 70), _clip(2, 3, 60, 70)
    found = measure(hq, gt, metrics=["vgg_distance_sampled", "vgg_distance_sampled_se"], crop_px=0)
    wanted = vgg_distance(gt, hq, network=shipped)
    np.testing.assert_allclose(found["vgg_distance_sampled"], wanted, rtol=1e-5)
    assert np.isnan(found["vgg_distance_sampled_se"][:2]).all() and found["vgg_distance_sampled_se"][2] == 0


def test_the_standard_error_is_what_draws_differ_by(trunk: Vgg16) -> None:
    gt, hq = _clip(3, 1, 200, 300)[0], _clip(3, 1, 200, 300)[0]
    strength = np.linspace(0, 60, 300)[None, :, None]  # damage grows from left to right
    hq = np.clip(hq + np.random.default_rng(1).normal(0, 1, hq.shape) * strength, 0, 255).astype(np.uint8)
    layers = layers_of(trunk, torch.float32)
    found = [vgg_sampled.estimate(layers, trunk.mean, hq, gt, index) for index in range(60)]
    values = np.array([one.value for one in found])
    said = math.sqrt(np.mean([one.error**2 for one in found]))
    assert values.std() == pytest.approx(said, rel=0.35) and said > 0
    whole = frame_distances(layers, trunk.mean, *(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (hq, gt))).item()
    assert values.mean() == pytest.approx(whole, rel=0.04)


def test_value_and_error_share_one_computation(shipped: Vgg16, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = vgg_sampled.estimate
    monkeypatch.setattr(vgg_sampled, "estimate", lambda *given: seen.append(given[-1]) or real(*given))
    gt, hq = _clip(1, 4, 200, 300), _clip(2, 4, 200, 300)
    found = measure(hq, gt, metrics=["vgg_distance_sampled", "vgg_distance_sampled_se"], crop_px=0)
    assert seen == [0, 1, 2, 3]
    assert vgg_sampled._SHARED.known is None
    layers = layers_of(shipped, torch.float32)
    errors = [real(layers, shipped.mean, hq[t], gt[t], t).error for t in range(4)]
    assert found["vgg_distance_sampled_se"][-1] == pytest.approx(math.sqrt(sum(one**2 for one in errors)) / 4)


def test_small_frames_and_steps_are_refused(shipped: Vgg16) -> None:
    with pytest.raises(OptionError, match="16x16"):
        measure(_clip(1, 1, 12, 40), _clip(2, 1, 12, 40), metrics=["vgg_distance_sampled"], crop_px=0)
    with pytest.raises(OptionError, match="all frames"):  # which cells are drawn depends on the frame's number
        measure(_clip(1, 1, 32, 40), _clip(2, 1, 32, 40), metrics=["vgg_distance_sampled@2"], crop_px=0)
