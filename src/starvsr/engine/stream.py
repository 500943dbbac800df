"""Frames in, enlarged frames out, in constant memory.

Reads ahead, cuts at scenes and into segments, runs the network, finishes and writes behind. Beside a network on another
device the processor reads frames, and finishes and encodes up to ``write_behind`` of them.
Works on any iterable of frames and any sink, so it knows no files; ``api`` connects it to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.clip_fit import ClipFit
from starvsr.engine.finish import Finish
from starvsr.engine.progress import CancelToken, Meter
from starvsr.engine.render import Pixels, Store, join_segments, upscale_segment
from starvsr.engine.segments import Position, Segment, SegmentPlanner, group_frames
from starvsr.engine.threads import ReadAhead, WriteBehind
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import Session

READ_AHEAD = 4


class Frame(Protocol):
    """What the stream needs of a frame: `starvsr.video.VideoFrame` has it."""

    @property
    def pixels(self) -> Pixels:
        """Uint8 or uint16 [H, W, 3 or 4], full range."""
        ...

    @property
    def pts(self) -> int:
        """Time in ticks."""
        ...

    @property
    def duration(self) -> int:
        """Length in ticks."""
        ...


class CutDetector(Protocol):
    """Says whether a new shot begins with a frame: `starvsr.video.SceneDetector` does."""

    def is_cut(self, pixels: Pixels) -> bool:
        """Look at the next frame."""
        ...


Sink = Callable[[Pixels, int, int], None]
"""Takes pixels [H, W, 3 or 4], time and length in ticks."""
Border = Callable[[Segment], None]
"""Called by the thread of the sink behind each segment's frames."""


@dataclass(frozen=True)
class StreamSettings:
    """What the stream does with frames.

    Args:
        plan: The cut in time and space.
        finish: What is done to each enlarged frame.
        scale: Enlargement by the network.
        traits: Of the model.
        device: Where the network computes.
        first_frame: Index of the first frame in the whole video; keys the noise.
        finish_behind: Finish frames in the thread of the sink; None does so when the network computes elsewhere than on
            the processor, which finishing would otherwise take time from.
    """

    plan: ChunkPlan
    finish: Finish
    scale: int = 4
    traits: Traits = field(default_factory=Traits)
    device: str = "cpu"
    first_frame: int = 0
    finish_behind: bool | None = None


def upscale_stream(
    frames: Iterable[Frame],
    sink: Sink,
    session: Session,
    settings: StreamSettings,
    *,
    detector: CutDetector | None = None,
    meter: Meter | None = None,
    cancel: CancelToken | None = None,
    begin: Position | None = None,
    stop: int | None = None,
    on_border: Border | None = None,
) -> int:
    """Upscale frames into a sink.

    Args:
        frames: Frames in order, read in a thread of their own.
        sink: Called in order in a thread of its own.
        session: The model at work for this job.
        settings: Plan, finish, traits.
        detector: Finds scene cuts; None takes everything for one shot.
        meter: Counts frames and reports progress.
        cancel: Looked at between tiles and frames.
        begin: Where to begin; ``frames`` then begin with ``begin.first_needed(plan.overlap)``. What comes out is the
            same as without interruption.
        stop: End before this frame, which must be the first behind a segment; None goes to the last.
        on_border: Called behind each segment's frames.

    Returns:
        The number of frames handed to the sink.

    Raises:
        Cancelled: ``cancel`` was called.
        StarVsrError: whatever the source, the network or the sink raise.
    """
    cancel = cancel or CancelToken()
    meter = meter or Meter(None, None)
    begin = begin or Position()
    handed = 0

    def deliver(item: _Item) -> None:
        with torch.inference_mode():
            pixels = item.make()
        sink(pixels, item.pts, item.duration)
        if item.border is not None and on_border is not None:
            on_border(item.border)

    with (
        torch.inference_mode(),
        ReadAhead(_with_cuts(frames, detector), READ_AHEAD, cancel) as ahead,
        WriteBehind[_Item](deliver, settings.traits.write_behind, cancel) as behind,
    ):
        for index, item in _enlarged(ahead, session, settings, meter, cancel, begin):
            if index < begin.frame:  # only needed to blend what follows
                continue
            behind.put(item)
            del item
            handed += 1
            meter.num_done += 1
            meter.tell()
            cancel.raise_if_cancelled()
            if index + 1 == stop:
                break
    return handed


@dataclass(frozen=True)
class _Item:
    """A frame on its way to the sink: ``make`` gives its pixels, ``border`` is the segment that it ends."""

    make: Callable[[], Pixels]
    pts: int
    duration: int
    border: Segment | None


def _with_cuts(frames: Iterable[Frame], detector: CutDetector | None) -> Iterator[tuple[Frame, bool]]:
    for frame in frames:
        yield frame, detector is not None and detector.is_cut(frame.pixels)


def _enlarged(
    frames: Iterable[tuple[Frame, bool]],
    session: Session,
    settings: StreamSettings,
    meter: Meter,
    cancel: CancelToken,
    begin: Position,
) -> Iterator[tuple[int, _Item]]:
    """Yield each finished frame with its index."""
    plan, finish = settings.plan, settings.finish
    behind = settings.device != "cpu" if settings.finish_behind is None else settings.finish_behind
    planner = SegmentPlanner(plan.length, plan.overlap, plan.crossfade, begin, plan.overlap_after)
    inputs: dict[int, Frame] = {}  # frames whose results are not out yet
    current: Segment | None = None

    def rendered() -> Iterator[tuple[Segment, Store]]:
        nonlocal current
        for segment, members in group_frames(frames, planner):
            inputs.update(zip(range(segment.start, segment.stop), members, strict=True))
            current = segment
            yield segment, _render(session, members, segment, settings, meter, cancel)

    for index, codes in join_segments(rendered()):
        frame = inputs[index]
        if behind:
            make = partial(finish, codes.copy(), frame.pixels)
        else:
            finished = finish(codes, frame.pixels)
            make = partial(_as_it_is, finished)
            del finished
        del codes  # a view that would keep the whole segment while the next one is made
        border = current if current is not None and index + 1 == current.given_stop else None
        yield index, _Item(make, frame.pts, frame.duration, border)
        del make
        for old in [i for i in inputs if i <= index]:
            del inputs[old]


def _as_it_is(pixels: Pixels) -> Pixels:
    return pixels


def _render(
    session: Session,
    members: list[Frame],
    segment: Segment,
    settings: StreamSettings,
    meter: Meter,
    cancel: CancelToken,
) -> Store:
    def on_fraction(share: float) -> None:
        cancel.raise_if_cancelled()
        meter.num_computed = segment.keep_start + share * (segment.keep_stop - segment.keep_start)
        meter.tell()

    return upscale_segment(
        session,
        [frame.pixels for frame in members],
        segment,
        settings.plan.grid,
        scale=settings.scale,
        fit=ClipFit.of(segment, settings.plan.overlap, settings.traits),
        first_frame=settings.first_frame + segment.start,
        device=settings.device,
        on_fraction=on_fraction,
    )
