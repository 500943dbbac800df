"""Frames in, enlarged frames out, in constant memory.

Reads ahead, groups frames into segments, has them rendered, finishes and writes behind. Beside a network on another
device the processor reads frames, and finishes and encodes up to ``write_behind`` of them.
Works on any iterable of frames and any sink, so it knows no files; ``jobs`` connects it to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from starvsr.engine.executor import Executor
from starvsr.engine.progress import CancelToken, ProgressTracker
from starvsr.engine.render import Finish, Pixels, U16Frames, join_segments, owned
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.segments import Segment, group_frames
from starvsr.engine.threads import ReadAhead, WriteBehind

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


Sink = Callable[[Pixels, int, int], None]
"""Takes pixels [H, W, 3 or 4], time and length in ticks."""


@dataclass(frozen=True)
class StreamSettings:
    """What the stream does with frames.

    Args:
        render: How segments are rendered.
        finish: What is done to each enlarged frame.
        finish_behind: Finish frames in the thread of the sink: when the network computes elsewhere than on the
            processor, which finishing would otherwise take time from.
    """

    render: RenderSettings
    finish: Finish
    finish_behind: bool = False


def upscale_stream(
    frames: Iterable[Frame],
    segments: Sequence[Segment],
    sink: Sink,
    executor: Executor,
    settings: StreamSettings,
    *,
    first: int = 0,
    tracker: ProgressTracker | None = None,
    cancel: CancelToken | None = None,
) -> int:
    """Upscale frames into a sink.

    Args:
        frames: Frames in order from ``segments[0].start`` on, read in a thread of their own.
        segments: Neighbouring segments of the plan, in order.
        sink: Called in order in a thread of its own.
        executor: Renders the segments.
        settings: Plan, traits, finish.
        first: First frame to hand out; those before are only needed to blend it.
        tracker: Counts frames and reports progress.
        cancel: Looked at between tiles and frames.

    Returns:
        The number of frames handed to the sink.

    Raises:
        Cancelled: ``cancel`` was called.
        InputError: There are fewer frames than the segments need.
        StarVsrError: Whatever the source, the network or the sink raise.
    """
    cancel = cancel or CancelToken()
    tracker = tracker or ProgressTracker(None, None)
    stop = segments[-1].final_stop if segments else 0
    with ReadAhead(frames, READ_AHEAD, cancel) as ahead:
        pieces = group_frames(ahead, segments)
        return upscale_pieces(pieces, sink, executor, settings, tracker, cancel, first=first, stop=stop)


def upscale_pieces(
    pieces: Iterable[tuple[Segment, Sequence[Frame]]],
    sink: Sink,
    executor: Executor,
    settings: StreamSettings,
    tracker: ProgressTracker,
    cancel: CancelToken,
    *,
    first: int = 0,
    stop: int | None = None,
    give_up: Callable[[], None] = lambda: None,
) -> int:
    """Upscale segments with their frames into a sink, as `upscale_stream` does.

    Args:
        pieces: Neighbouring segments in order, each with its frames [start, stop); taken as they are needed.
        sink: As there.
        executor: As there.
        settings: As there.
        tracker: As there.
        cancel: As there.
        first: As there.
        stop: End of the frames that are handed out, for the progress; None where it is not known.
        give_up: Called after an error, before the sink's thread is waited for: makes a sink return that is waiting.
    """
    handed = 0

    def deliver(item: _Item) -> None:
        with torch.inference_mode():
            pixels = item.make()
        sink(pixels, item.pts, item.duration)

    with (
        torch.inference_mode(),
        WriteBehind[_Item](deliver, settings.render.traits.write_behind, cancel) as behind,
    ):
        try:
            for index, item in _enlarged(pieces, executor, settings, tracker, cancel, first, stop):
                if index < first:
                    continue
                behind.put(item)
                del item
                handed += 1
                tracker.frame_done()
                cancel.raise_if_cancelled()
        except BaseException:
            give_up()
            raise
    return handed


@dataclass(frozen=True)
class _Item:
    """A frame on its way to the sink; ``make`` gives its pixels."""

    make: Callable[[], Pixels]
    pts: int
    duration: int


def _enlarged(
    pieces: Iterable[tuple[Segment, Sequence[Frame]]],
    executor: Executor,
    settings: StreamSettings,
    tracker: ProgressTracker,
    cancel: CancelToken,
    first: int,
    stop: int | None,
) -> Iterator[tuple[int, _Item]]:
    """Yield each enlarged frame with its index."""
    finish = settings.finish
    inputs: dict[int, Frame] = {}  # frames whose results are not out yet

    def tasks() -> Iterator[SegmentTask]:
        for segment, members in pieces:
            inputs.update(zip(range(segment.start, segment.stop), members, strict=True))
            yield SegmentTask(settings.render, segment, tuple(frame.pixels for frame in members))

    def on_progress(task: SegmentTask, share: float) -> None:
        segment = task.segment
        keep_stop = segment.keep_stop if stop is None else min(segment.keep_stop, stop)
        wanted = keep_stop - max(segment.keep_start, first)
        tracker.segment_progress(segment.index, share, wanted)

    def rendered() -> Iterator[tuple[Segment, Iterator[U16Frames]]]:
        for task, made in executor.render(tasks(), cancel, on_progress):
            yield task.segment, made
            del task, made  # before the next one is made

    for index, codes in join_segments(rendered()):
        frame = inputs[index]
        if settings.finish_behind:
            make = partial(finish, owned(codes), frame.pixels)
        else:
            finished = finish(codes, frame.pixels)
            make = partial(_as_it_is, finished)
            del finished
        del codes  # it would be held while the next one is made
        yield index, _Item(make, frame.pts, frame.duration)
        del make, frame
        for old in [i for i in inputs if i <= index]:
            del inputs[old]


def _as_it_is(pixels: Pixels) -> Pixels:
    return pixels
