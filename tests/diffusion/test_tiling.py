"""Tiles of the denoiser: one is the whole, several agree at their borders, and nothing is random."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from starvsr.diffusion.denoiser import Denoise
from starvsr.diffusion.tiling import Tile, in_tiles
from starvsr.families.star_i2vgen.footprint.grid import axis_of_tiles
from starvsr.families.star_i2vgen.footprint.plan import StarPlan
from tests.support.tiny_star import clip, tiny


def _enlarged(tiles: tuple[int, int] | None) -> Tensor:
    star = tiny(guidance=1)
    if tiles:
        star.memory.apply_plan(StarPlan(tiles=tiles, tile_overlap=8))
    return star.upscale_clip(clip(2, 40, 48), seed=5, num_steps=2)


def test_one_tile_is_the_whole_frame() -> None:
    assert torch.equal(_enlarged((1, 1)), _enlarged(None))


def test_tiles_do_not_show() -> None:
    """The change from line to line is nowhere much larger than that of the frame in one piece."""
    whole, tiled = _enlarged(None), _enlarged((2, 2))
    assert torch.equal(tiled, _enlarged((2, 2)))
    assert 0 < (tiled - whole).abs().mean() < 0.15 * whole.std()
    for axis in (3, 4):
        others = [d for d in range(5) if d != axis]
        steps, plain = (frames.diff(dim=axis).square().mean(others).sqrt() for frames in (tiled, whole))
        assert (steps / plain).max() < 1.1


def test_hard_cuts_would_show() -> None:
    """What the measure of the test before is worth: tiles that disagree, side by side, make a line."""

    def denoise_for(tile: Tile) -> Denoise:
        offset = 0.2 * ((tile[0].start + tile[1].start) % 3)
        return lambda x, level: x + offset

    axis = axis_of_tiles(64, 2, 16, 8, 0)
    hard = [dataclasses.replace(w, start=w.keep_start, stop=w.keep_stop) for w in axis]
    x = torch.zeros(1, 1, 1, 8, 64)
    rows = axis_of_tiles(8, 1, 0, 8, 0)
    blended, cut = (in_tiles(denoise_for, rows, columns)(x, 1.0) for columns in (axis, hard))
    assert blended.diff(dim=4).abs().max() < 0.15 * cut.diff(dim=4).abs().max()


def test_every_cell_is_denoised_with_weight_one() -> None:
    rows, columns = axis_of_tiles(58, 3, 8, 8, 2), axis_of_tiles(72, 2, 8, 8, 0)
    seen: list[tuple[int, int]] = []

    def denoise_for(tile: Tile) -> Denoise:
        def denoise(x: Tensor, level: float) -> Tensor:
            seen.append((x.shape[3], x.shape[4]))
            return x * level

        return denoise

    x = torch.randn(1, 4, 2, 58, 72)
    torch.testing.assert_close(in_tiles(denoise_for, rows, columns)(x, 2.0), 2 * x)
    assert len(seen) == 6 and all(h % 8 == 2 and w % 8 == 0 for h, w in seen)


@pytest.mark.parametrize("cells", [10, 42, 90, 122, 274, 482])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_tiles_fit_the_network_and_cover_the_axis(cells: int, count: int) -> None:
    tiles = axis_of_tiles(cells, count, 16, 8, 2)
    assert tiles[0].start == 0 and tiles[-1].stop == cells
    assert all(tile.length % 8 == 2 for tile in tiles)
    assert all(a.stop - b.start >= 16 for a, b in pairwise(tiles))


def test_time_windows_tiles_and_kept_features_together() -> None:
    star = tiny(window=3, feature_cache=2)
    star.memory.apply_plan(StarPlan(tiles=(2, 2), tile_overlap=8))
    shapes: set[tuple[int, ...]] = set()
    hook = star.network.register_forward_pre_hook(lambda _, inputs: shapes.add(tuple(inputs[0].shape[2:])))
    hq = star.upscale_clip(clip(5, 32, 32), num_steps=2)
    hook.remove()
    assert hq.isfinite().all() and {shape[0] for shape in shapes} == {3}
    assert max(shape[1] for shape in shapes) < 32 and max(shape[2] for shape in shapes) < 32
