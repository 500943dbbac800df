"""Segments: every frame kept once, no look across a cut, pieces of even size, frames handed out in step."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr.engine.segments import group_frames, longest_crossfade, plan_segments
from starvsr.errors import InputError


@st.composite
def _plans(draw: st.DrawFn) -> tuple[int, int, int, int, list[int]]:
    length = draw(st.integers(1, 20))
    overlap = draw(st.integers(0, 8))
    crossfade = draw(st.integers(0, min(2 * overlap, longest_crossfade(length))))
    num_frames = draw(st.integers(0, 150))
    cuts = draw(st.lists(st.integers(0, 150), max_size=12))
    return num_frames, length, overlap, crossfade, cuts


@settings(max_examples=40, deadline=None)
@given(_plans())
def test_kept_parts_cover_every_frame_exactly_once(plan: tuple[int, int, int, int, list[int]]) -> None:
    segments = plan_segments(*plan[:4], cuts=plan[4])
    assert [i for s in segments for i in range(s.keep_start, s.keep_stop)] == list(range(plan[0]))
    assert [s.index for s in segments] == list(range(len(segments)))


@settings(max_examples=40, deadline=None)
@given(_plans())
def test_no_segment_looks_across_a_cut(plan: tuple[int, int, int, int, list[int]]) -> None:
    num_frames, length, overlap, _, cuts = plan
    for s in plan_segments(*plan[:4], cuts=cuts):
        assert not any(s.start < cut < s.stop for cut in cuts)
        assert 0 <= s.start <= s.keep_start < s.keep_stop <= s.stop <= num_frames
        assert s.keep_stop - s.keep_start <= length
        assert s.keep_start - s.start <= overlap and s.stop - s.keep_stop <= overlap


@settings(max_examples=40, deadline=None)
@given(_plans())
def test_crossfades_of_neighbours_meet_inside_what_both_see(plan: tuple[int, int, int, int, list[int]]) -> None:
    segments = plan_segments(*plan[:4], cuts=plan[4])
    for a, b in pairwise(segments):
        assert a.fade_after == b.fade_before
        assert a.keep_stop + a.fade_after <= a.stop
        assert b.start <= b.keep_start - b.fade_before
    for s in segments:
        assert s.fade_before + s.fade_after <= s.keep_stop - s.keep_start
    if segments:
        assert segments[0].fade_before == 0 and segments[-1].fade_after == 0


def test_context_reaches_to_both_sides_within_a_shot() -> None:
    segments = plan_segments(24, length=8, overlap=2)
    assert [(s.start, s.stop) for s in segments] == [(0, 10), (6, 18), (14, 24)]


def test_the_last_two_pieces_of_a_shot_share_evenly() -> None:
    assert [s.keep_stop - s.keep_start for s in plan_segments(17, length=8)] == [8, 5, 4]


@pytest.mark.parametrize(("crossfade", "halves"), [(0, 0), (1, 0), (4, 2)])
def test_crossfade_is_split_over_both_sides(crossfade: int, halves: int) -> None:
    first, second = plan_segments(16, length=8, overlap=2, crossfade=crossfade)
    assert (first.fade_after, second.fade_before) == (halves, halves)


@settings(max_examples=40, deadline=None)
@given(_plans(), st.data())
def test_frames_are_handed_out_with_their_segments_and_not_hoarded(
    plan: tuple[int, int, int, int, list[int]], data: st.DataObject
) -> None:
    segments = plan_segments(*plan[:4], cuts=plan[4])
    if not segments:
        return
    first = data.draw(st.integers(0, len(segments) - 1))
    stop = data.draw(st.integers(first + 1, len(segments)))
    read = segments[first].start

    def frames():
        nonlocal read
        for index in range(read, plan[0]):
            read = index + 1
            yield index

    grouped = []
    for segment, members in group_frames(frames(), segments[first:stop]):
        assert members == list(range(segment.start, segment.stop))
        assert read == segment.stop  # no frame is read before its segment is wanted
        grouped.append(segment)
    assert grouped == segments[first:stop]


def test_too_few_frames_are_an_error() -> None:
    segments = plan_segments(10, 4)
    with pytest.raises(InputError, match="ended after 7 frames"):
        list(group_frames(range(7), segments))


@pytest.mark.parametrize(("length", "overlap", "crossfade"), [(0, 0, 0), (4, -1, 0), (4, 2, 5), (8, 1, 4)])
def test_impossible_numbers_are_refused(length: int, overlap: int, crossfade: int) -> None:
    with pytest.raises(ValueError, match="needed"):
        plan_segments(9, length, overlap, crossfade)
