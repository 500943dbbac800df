"""The plan: stays within the memory, spends as little work as it can, says why it cannot."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest

from starvsr.engine.chunk_plan import MB, Sizes, plan_chunks
from starvsr.engine.traits import Traits
from starvsr.errors import OptionError, ResourceError
from starvsr.families.options import UpscaleOptions

SMALL = Sizes(240, 426, 4, 960, 1704)
HD = Sizes(720, 1280, 4, 1440, 2560)
FULL_HD = Sizes(1080, 1920, 4, 4320, 7680)
TRAITS = Traits()


def test_the_default_stays_below_one_gigabyte() -> None:
    cut = plan_chunks(SMALL, TRAITS, UpscaleOptions())
    assert cut.memory <= 1000 * MB + TRAITS.fixed_bytes
    assert cut.length >= 4


@pytest.mark.parametrize(("sizes", "limit"), [(HD, 2000), (FULL_HD, 4000)])
def test_larger_frames_get_the_least_memory_that_does(sizes: Sizes, limit: int) -> None:
    cut = plan_chunks(sizes, TRAITS, UpscaleOptions())
    assert cut.memory <= cut.budget == limit * MB + TRAITS.fixed_bytes


def test_more_memory_means_less_overlapping_work() -> None:
    works = [plan_chunks(SMALL, TRAITS, UpscaleOptions(memory=f"{size}MB")).work for size in (750, 1000, 2000, 8000)]
    assert works == sorted(works, reverse=True)
    assert works[0] > works[-1]


def test_what_the_user_fixes_is_kept() -> None:
    options = UpscaleOptions(segment=7, overlap=3, crossfade=2, tile=96, tile_overlap=12, memory="4GB")
    cut = plan_chunks(SMALL, TRAITS, options)
    assert (cut.length, cut.overlap, cut.crossfade) == (7, 3, 2)
    assert cut.grid.rows[0].length == cut.grid.columns[0].length == 96
    assert plan_chunks(SMALL, TRAITS, UpscaleOptions(tile="off", memory="4GB")).grid.num_tiles == 1


def test_a_crossfade_makes_room_for_itself() -> None:
    cut = plan_chunks(SMALL, Traits(overlap=0), UpscaleOptions(crossfade=6))
    assert cut.overlap >= 3 and cut.length >= 12


def test_the_model_fades_segments_unless_the_user_says_otherwise() -> None:
    traits = Traits(overlap=3, crossfade=2)
    assert plan_chunks(SMALL, traits, UpscaleOptions()).crossfade == 2
    assert plan_chunks(SMALL, traits, UpscaleOptions(crossfade=0)).crossfade == 0
    assert plan_chunks(SMALL, traits, UpscaleOptions(crossfade=4, segment=8)).crossfade == 4
    assert plan_chunks(SMALL, traits, UpscaleOptions(segment=2)).crossfade == 0  # no room for it
    assert plan_chunks(SMALL, traits, UpscaleOptions(overlap=0)).crossfade == 0  # nothing that both have seen


def test_time_is_not_wasted_to_stay_below_one_gigabyte() -> None:
    large = Sizes(480, 640, 4, 1920, 2560)
    small, usual = (plan_chunks(large, TRAITS, UpscaleOptions(memory=memory)) for memory in ("1020MB", "auto"))
    assert small.work > 1.4 * usual.work
    assert usual.budget == 2000 * MB + TRAITS.fixed_bytes


def test_too_little_memory_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(ResourceError, match=r"need \d+ MB at least and --memory is 100 MB: raise it$"):
        plan_chunks(SMALL, TRAITS, UpscaleOptions(memory="100MB"))
    with pytest.raises(ResourceError, match="leave out --segment and --tile"):
        plan_chunks(SMALL, TRAITS, UpscaleOptions(memory="500MB", segment=64, tile=256))


def test_a_crossfade_longer_than_the_segments_hold_is_refused() -> None:
    with pytest.raises(OptionError, match="--crossfade 8 does not fit --segment 6"):
        plan_chunks(SMALL, TRAITS, UpscaleOptions(segment=6, overlap=4, crossfade=8))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (47, 47), (161, 121)])
def test_any_size_gets_a_plan(size: tuple[int, int]) -> None:
    height, width = size
    cut = plan_chunks(Sizes(height, width, 4, 4 * height, 4 * width), TRAITS, UpscaleOptions())
    assert cut.grid.rows[-1].stop == height and cut.grid.columns[-1].stop == width
    assert Fraction(cut.work) >= 1
    assert cut.describe()


def test_context_that_is_carried_counts_little_and_tiles_count_as_ever() -> None:
    traits = Traits(
        overlap=6, overlap_after=0, segment=16, tile_overlap=40, bytes_per_pixel=13, bytes_per_tile_pixel=1000
    )
    carrying = dataclasses.replace(traits, carries=True)
    plain, carried = (plan_chunks(SMALL, one, UpscaleOptions(segment=4)) for one in (traits, carrying))
    assert plain.work == pytest.approx((4 + 6) / 4) and carried.work == pytest.approx((4 + 0.6) / 4)
    chosen = plan_chunks(SMALL, carrying, UpscaleOptions())
    assert chosen.length == 16 and chosen.grid.num_tiles == 1  # short ones would be dear where processes take turns
    assert plan_chunks(HD, carrying, UpscaleOptions()).work <= 1.1 * 1.1
    assert chosen.describe() == "segments of 16 frames with 6 of context before them, carried on; whole frames"


def test_where_nothing_fits_a_carrying_model_is_not_cut_into_shreds() -> None:
    huge = Sizes(4320, 7680, 4, 17280, 30720)
    traits = Traits(overlap=6, overlap_after=0, tile_overlap=40, bytes_per_pixel=13, bytes_per_tile_pixel=1000)
    shreds, roomier = (
        plan_chunks(huge, dataclasses.replace(traits, carries=carries), UpscaleOptions()) for carries in (False, True)
    )
    assert roomier.memory <= 1.1 * shreds.memory and roomier.grid.num_tiles < shreds.grid.num_tiles
