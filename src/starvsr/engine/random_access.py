"""Frames of a clip in any order: which segment holds a frame, and how a segment is rendered on its own.

Segments follow from the number of frames alone, and a segment is cut further only where frames that it looks at say
that a scene begins. So the pixels of a frame are the same whatever was asked for before it, and a frame costs one
segment with its context at most, two where neighbours are blended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from starvsr.engine.render import Pixels, U16Frames
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.segments import Segment
from starvsr.engine.upscaler import Session


@dataclass(frozen=True)
class Place:
    """Where the result of a frame lies.

    Args:
        segment: Index of the segment.
        position: Of the frame in what the segment's rendering gives.
        later: Index of the next segment where both are blended; None: ``segment`` alone.
        later_position: Of the frame in what that gives.
        fade_position: Of the frame in the cross-fade.
        fade_length: Frames of the cross-fade.
    """

    segment: int
    position: int
    later: int | None = None
    later_position: int = 0
    fade_position: int = 0
    fade_length: int = 0


class SegmentIndex:
    """Finds the segments of a frame.

    Args:
        segments: All segments of the clip, in order.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self._starts = [segment.keep_start for segment in segments]

    def place(self, frame: int) -> Place:
        """Return where the result of a frame lies."""
        number = bisect_right(self._starts, frame) - 1
        segment = self.segments[number]
        if segment.fade_before and frame < segment.keep_start + segment.fade_before:
            return self._blended(number - 1, frame)
        if segment.fade_after and frame >= segment.keep_stop - segment.fade_after:
            return self._blended(number, frame)
        return Place(number, frame - _first_kept(segment))

    def _blended(self, earlier: int, frame: int) -> Place:
        one, other = self.segments[earlier], self.segments[earlier + 1]
        first = _first_kept(other)  # of the cross-fade
        return Place(earlier, frame - _first_kept(one), earlier + 1, frame - first, frame - first, 2 * one.fade_after)


def render_segment(
    session: Session,
    render: RenderSettings,
    segment: Segment,
    frames: Sequence[Pixels],
    cuts: Collection[int] = (),
    device: str = "cpu",
) -> list[U16Frames]:
    """Render the frames that a segment keeps, its cross-fades included.

    Args:
        session: The model at work, with the settings and the plan of ``render``.
        render: How segments are rendered.
        segment: Which frames.
        frames: The frames [segment.start, segment.stop), uint8 or uint16 [h, w, 3].
        cuts: First frames of scenes; frames on both sides of one are never seen together.
        device: Where the model computes.

    Returns:
        ``segment.num_made`` frames, uint16 [scale * h, scale * w, 3] over 0..65535.
    """
    made: list[U16Frames] = []
    with torch.inference_mode():
        for piece in split_at_cuts(segment, cuts, render):
            members = tuple(frames[piece.start - segment.start : piece.stop - segment.start])
            made += SegmentTask(render, piece, members).run(session, device)
    return made


def split_at_cuts(segment: Segment, cuts: Collection[int], render: RenderSettings) -> list[Segment]:
    """Return the pieces of a segment that lie in one scene each; together they keep what it does, without cross-fades.

    A segment in which no scene begins is returned as it is.
    """
    inside = sorted(cut for cut in set(cuts) if segment.start < cut < segment.stop)
    whole = replace(segment, shot_start=segment.start) if segment.start in cuts else segment
    if not inside:
        return [whole]
    before = render.plan.overlap
    after = before if render.plan.overlap_after is None else render.plan.overlap_after
    kept_start, kept_stop = _first_kept(segment), segment.keep_stop + segment.fade_after
    pieces = []
    for start, stop in zip([segment.start, *inside], [*inside, segment.stop], strict=True):
        keep_start, keep_stop = max(start, kept_start), min(stop, kept_stop)
        if keep_start >= keep_stop:
            continue
        pieces.append(
            Segment(
                index=segment.index,
                start=max(start, keep_start - before),
                stop=min(stop, keep_stop + after),
                keep_start=keep_start,
                keep_stop=keep_stop,
                shot_start=start if start in cuts else segment.shot_start,
                ends_shot=stop in inside or segment.ends_shot,
            )
        )
    return pieces


def _first_kept(segment: Segment) -> int:
    return segment.keep_start - segment.fade_before
