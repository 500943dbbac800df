"""Segments that are planned while frames arrive: those of the whole plan, no later than promised, holding no more."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.growing_plan import _GrowingPlan, frames_ahead, group_as_they_come
from starvsr.engine.segments import longest_crossfade, plan_segments
from starvsr.engine.tiles import grid_of_tiles

GRID = grid_of_tiles(8, 8, None, 0)


def _plan(length: int, overlap: int, crossfade: int = 0, after: int | None = None, multiple: int = 1) -> ChunkPlan:
    return ChunkPlan(length, overlap, crossfade, GRID, 0, 0, overlap_after=after, multiple=multiple)


def _random_plan(rng: random.Random) -> ChunkPlan:
    length, overlap = rng.randint(1, 9), rng.randint(0, 5)
    after = rng.choice([None, rng.randint(0, 12)])
    least = overlap if after is None else min(overlap, after)
    crossfade = min(rng.randint(0, 6), 2 * least, longest_crossfade(length))
    return _plan(length, overlap, crossfade, after, rng.choice([1, 2, 4]))


@pytest.mark.parametrize("seed", range(60))
def test_the_segments_are_those_of_the_whole_plan(seed: int) -> None:
    rng = random.Random(seed)
    plan, count = _random_plan(rng), rng.randint(1, 60)
    cuts = sorted(rng.sample(range(1, count), min(count - 1, rng.randint(0, 5))))
    made = list(group_as_they_come(((index, index in cuts) for index in range(count)), plan))
    whole = plan_segments(count, plan.length, plan.overlap, plan.crossfade, cuts, plan.overlap_after, plan.multiple)
    assert [segment for segment, _ in made] == whole
    assert all(frames == list(range(segment.start, segment.stop)) for segment, frames in made)


def test_no_more_frames_are_held_than_a_segment_and_its_context_need() -> None:
    for seed in range(20):
        plan = _random_plan(random.Random(seed))
        growing = _GrowingPlan[int](plan)
        for index in range(100):
            list(growing.add(index))
            assert len(growing._held) <= frames_ahead(plan) + plan.overlap


@pytest.mark.parametrize("plan", [_plan(1, 0), _plan(4, 3, 2), _plan(2, 1, after=9), _plan(3, 2, after=0)])
def test_a_segment_waits_for_no_more_frames_than_is_told(plan: ChunkPlan) -> None:
    asked = 0

    def endless() -> Iterator[tuple[int, bool]]:
        nonlocal asked
        for index in itertools.count():
            asked = index + 1
            yield index, False

    for number, (segment, _) in enumerate(group_as_they_come(endless(), plan)):
        assert asked <= segment.keep_start + 1 + frames_ahead(plan)
        if number == 20:
            return
