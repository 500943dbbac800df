"""Any frame alone: the same segments, blends and scenes as in a run from beginning to end."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.random_access import SegmentIndex, split_at_cuts
from starvsr.engine.render import blend, join_segments
from starvsr.engine.segment_task import RenderSettings
from starvsr.engine.segments import longest_crossfade, plan_segments
from starvsr.engine.tiles import grid_of_tiles
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings


@st.composite
def _plans(draw):  # type: ignore[no-untyped-def]
    length, overlap, after = draw(st.integers(1, 9)), draw(st.integers(0, 4)), draw(st.integers(0, 4))
    crossfade = draw(st.integers(0, min(2 * min(overlap, after), longest_crossfade(length))))
    num_frames = draw(st.integers(1, 60))
    cuts = draw(st.sets(st.integers(0, num_frames)))
    return num_frames, length, overlap, crossfade, cuts, after


@given(_plans())
@settings(max_examples=60, deadline=None)
def test_a_frame_is_blended_as_in_a_run_over_all(plan) -> None:  # type: ignore[no-untyped-def]
    num_frames, length, overlap, crossfade, cuts, after = plan
    segments = plan_segments(num_frames, length, overlap, crossfade, cuts, after)
    rng = np.random.default_rng(0)
    stores = [
        rng.integers(0, 65536, (s.keep_stop + s.fade_after - s.keep_start + s.fade_before, 1, 1, 3)).astype(np.uint16)
        for s in segments
    ]
    index = SegmentIndex(segments)
    joined = dict(join_segments(zip(segments, stores, strict=True)))
    assert sorted(joined) == list(range(num_frames))
    for frame in range(num_frames):
        place = index.place(frame)
        codes = stores[place.segment][place.position]
        if place.later is not None:
            later = stores[place.later][place.later_position]
            codes = blend(codes, later, place.fade_position, place.fade_length)
        assert np.array_equal(codes, joined[frame])


@given(_plans())
@settings(max_examples=60, deadline=None)
def test_pieces_keep_the_same_frames_and_lie_in_one_scene_each(plan) -> None:  # type: ignore[no-untyped-def]
    num_frames, length, overlap, crossfade, cuts, after = plan
    grid = grid_of_tiles(8, 8, None, 0)
    render = RenderSettings(
        ChunkPlan(length, overlap, crossfade, grid, 0, 0, overlap_after=after), JobSettings(), Traits()
    )
    for segment in plan_segments(num_frames, length, overlap, crossfade, (), after):
        pieces = split_at_cuts(segment, cuts, render)
        kept = [n for p in pieces for n in range(p.keep_start - p.fade_before, p.keep_stop + p.fade_after)]
        assert kept == list(range(segment.keep_start - segment.fade_before, segment.keep_stop + segment.fade_after))
        for piece in pieces:
            assert not any(piece.start < cut < piece.stop for cut in cuts)
            assert segment.start <= piece.start <= piece.keep_start and piece.keep_stop <= piece.stop <= segment.stop
            starts_scene = piece.start in cuts or piece.start == 0
            assert (piece.start == piece.shot_start) == starts_scene
        assert all(one.keep_stop == other.keep_start for one, other in pairwise(pieces))


def test_a_segment_in_one_scene_is_left_as_it_is() -> None:
    segment = plan_segments(20, 8, 3, 2)[1]
    render = RenderSettings(ChunkPlan(8, 3, 2, grid_of_tiles(8, 8, None, 0), 0, 0), JobSettings(), Traits())
    assert split_at_cuts(segment, {0, segment.stop}, render) == [segment]
    assert split_at_cuts(segment, {segment.start}, render)[0].shot_start == segment.start


@pytest.mark.parametrize("frame", [0, 19])
def test_the_first_and_last_frames_are_of_one_segment(frame: int) -> None:
    place = SegmentIndex(plan_segments(20, 8, 3, 2)).place(frame)
    assert place.later is None
