"""Sharpening haloes and interlacing: what they do to an edge, and that recipes without them draw as before."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from starvsr.degradation.artefacts import (
    InterlaceDraw,
    SharpenDraw,
    SharpenRanges,
    draw_interlacing,
    draw_sharpening,
    interlace,
    sharpen,
)
from starvsr.degradation.presets import ALIASED, CLEAN, INTERLACED, LIGHT, SHARPENED, WIDE
from starvsr.degradation.recipe import apply_plan, degrade_clip, draw_plan


def _edge(num_frames: int = 3, step: int = 0) -> torch.Tensor:
    """A vertical edge that moves ``step`` px a frame, [T, 3, 24, 32]."""
    clip = torch.full((num_frames, 3, 24, 32), 0.3)
    for t in range(num_frames):
        clip[t, ..., 12 + step * t :] = 0.7
    return clip


@pytest.mark.parametrize("amount", [0.5, 1.5])
def test_sharpening_leaves_seams_beside_an_edge_and_flat_areas_alone(amount: float) -> None:
    row = sharpen(_edge(), SharpenDraw(amount, 1.0))[0, 0, 12]
    assert row[11] < 0.3 - 0.1 * amount and row[12] > 0.7 + 0.1 * amount
    assert torch.allclose(row[:6], torch.tensor(0.3), atol=1e-5) and torch.allclose(
        row[20:], torch.tensor(0.7), atol=1e-5
    )


def test_sharpening_stays_in_range() -> None:
    hard = sharpen((_edge() > 0.5).float(), SharpenDraw(2.0, 1.6))
    assert hard.min() >= 0 and hard.max() <= 1


def test_interlacing_leaves_combs_where_things_move() -> None:
    moving = _edge(3, step=4)
    woven = interlace(moving, InterlaceDraw(blend=False, later=0.5))
    assert torch.equal(woven[:, :, ::2], moving[:, :, ::2])
    assert woven[0, 0, 0, 13] == 0.7 and woven[0, 0, 1, 13] == pytest.approx(0.5)
    assert torch.equal(interlace(_edge(), InterlaceDraw(blend=False, later=0.5)), _edge())
    averaged = interlace(moving, InterlaceDraw(blend=True, later=0.5))
    assert averaged[0, 0, 5, 13] == pytest.approx(0.6) and averaged[0, 0, 6, 13] == pytest.approx(0.6)
    teeth = interlace(moving, InterlaceDraw(blend=False, later=1.0))
    assert torch.equal(teeth[0, :, 1::2], moving[1, :, 1::2]) and torch.equal(teeth[0, :, ::2], moving[0, :, ::2])


def test_all_kinds_of_interlacing_are_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(draw_interlacing(rng, 0.5) for _ in range(800))
    assert drawn.pop(None) == pytest.approx(400, abs=60)  # type: ignore[call-overload]
    assert len(drawn) == 4 and min(drawn.values()) > 60


def test_nothing_is_drawn_for_what_cannot_happen() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert draw_sharpening(rng, SharpenRanges()) is None
    assert rng.bit_generator.state == before
    plans = [draw_plan(LIGHT, np.random.default_rng(1)) for _ in range(2)]
    assert plans[0].sharpening is None and plans[0].interlacing is None


def test_presets_do_what_their_names_say() -> None:
    rng = np.random.default_rng(0)
    assert all(draw_plan(CLEAN, rng).codec_final is None for _ in range(20))
    assert all(draw_plan(SHARPENED, rng).sharpening is not None for _ in range(20))
    assert len({draw_plan(INTERLACED, rng).interlacing for _ in range(40)} - {None}) == 4
    assert {WIDE.draw(rng).name for _ in range(400)} == {recipe.name for recipe in WIDE.recipes}
    assert sum(recipe.name == "clean" for recipe in (WIDE.draw(rng) for _ in range(1000))) == pytest.approx(130, abs=40)


def test_a_clean_clip_is_hardly_damaged_and_haloes_are_seen() -> None:
    gt = torch.nn.functional.interpolate(_edge(4), scale_factor=4.0, mode="bicubic").clamp(0, 1)
    plain = torch.nn.functional.interpolate(gt, scale_factor=0.25, mode="area")
    for seed in range(5):
        clean = degrade_clip(gt, CLEAN, np.random.default_rng(seed))
        assert (clean - plain).abs().mean() < 0.02
    without = dataclasses.replace(draw_plan(SHARPENED, np.random.default_rng(0)), sharpening=None, codec_final=None)
    plan = dataclasses.replace(without, sharpening=SharpenDraw(1.5, 1.0))
    plain, halo = (apply_plan(gt, p, np.random.default_rng(0)) for p in (without, plan))
    assert halo.max() > plain.max() + 0.05 and halo.min() < plain.min() - 0.05


def test_aliased_input_lies_on_the_ground_truth() -> None:
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    disc = torch.sigmoid((20 - torch.hypot(rows - 71, columns - 51)) / 2).expand(1, 3, 128, 128)
    centres = []
    for seed in range(16):
        lq = degrade_clip(disc, ALIASED, np.random.default_rng(seed))[0].mean(0)
        weight = (lq - 0.3).clamp(min=0)
        rows_lq, columns_lq = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        centres.append(
            [float((rows_lq * weight).sum() / weight.sum()), float((columns_lq * weight).sum() / weight.sum())]
        )
    np.testing.assert_allclose(np.mean(centres, axis=0), [71.5 / 4 - 0.5, 51.5 / 4 - 0.5], atol=0.2)
