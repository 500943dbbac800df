"""Frames pushed in one by one, enlarged frames handed out as soon as they can be: for cameras, players and pipes.

Nothing is known of what comes later: segments have one length, and there are no cross-fades. A job looks at the whole
video first and shares out the end of a shot evenly; where a model's result depends on the segment, the last frames of a
shot may differ from a job's.
"""

from __future__ import annotations

from collections import deque

import torch

from starvsr.engine.render import Finish, Pixels
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.segments import Segment
from starvsr.engine.upscaler import Session
from starvsr.errors import InputError


class FrameStream:
    """A model at work on frames as they come. Opened by `starvsr.open_stream`.

    Args:
        session: The model at work.
        render: How segments are rendered.
        finish: What is done to each enlarged frame.
        device: Where the model computes.

    Attributes:
        latency: Frames that must follow a frame, at most, before its result is handed out.
    """

    def __init__(self, session: Session, render: RenderSettings, finish: Finish, device: str) -> None:
        plan = render.plan
        self._session, self._render, self._finish, self._device = session, render, finish, device
        self._length, self._before = plan.length, plan.overlap
        self._after = plan.overlap if plan.overlap_after is None else plan.overlap_after
        self._held: deque[Pixels] = deque()
        self._first = 0  # index of the first frame held
        self._next = 0  # index of the first frame that is not handed out
        self._shot_start = 0
        self._num_segments = 0
        self.latency = self._length - 1 + self._after

    @property
    def num_waiting(self) -> int:
        """Frames that came and are not handed out yet."""
        return self._first + len(self._held) - self._next

    def push(self, frame: Pixels) -> list[Pixels]:
        """Take the next frame.

        Args:
            frame: uint8 or uint16 [h, w, 3 or 4], full range, all of one size and type.

        Returns:
            Enlarged frames [H, W, 3 or 4] of the same type, in order; often none.

        Raises:
            InputError: The frame has another size or type than it should.
        """
        grid = self._render.plan.grid
        wanted = self._held[-1] if self._held else frame
        is_fit = frame.ndim == 3 and frame.shape[:2] == (grid.height, grid.width) and frame.shape[2] in (3, 4)
        if (
            not is_fit
            or frame.dtype not in ("uint8", "uint16")
            or (frame.dtype, frame.shape) != (wanted.dtype, wanted.shape)
        ):
            raise InputError(
                f"a frame of {frame.dtype} {tuple(frame.shape)} was pushed into a stream of "
                f"{grid.width}x{grid.height} pixels: push uint8 or uint16 [{grid.height}, {grid.width}, 3 or 4]"
            )
        self._held.append(frame.copy())
        if self.num_waiting < self._length + self._after:
            return []
        return self._made(self._length, ends_shot=False)

    def cut(self) -> list[Pixels]:
        """Begin a new scene: what waits is made without looking at the frames to come, and handed out.

        Returns:
            All frames that waited.
        """
        made: list[Pixels] = []
        while self.num_waiting:
            left = self.num_waiting
            made += self._made(min(self._length, left), ends_shot=left <= self._length)
        self._held.clear()
        self._first = self._shot_start = self._next
        return made

    finish = cut
    """The end of the stream is that of a scene."""

    def _made(self, count: int, *, ends_shot: bool) -> list[Pixels]:
        end = self._first + len(self._held)
        segment = Segment(
            index=self._num_segments,
            start=max(self._shot_start, self._next - self._before),
            stop=min(end, self._next + count + self._after),
            keep_start=self._next,
            keep_stop=self._next + count,
            shot_start=self._shot_start,
            ends_shot=ends_shot,
        )
        members = tuple(self._held[index - self._first] for index in range(segment.start, segment.stop))
        with torch.inference_mode():
            frames = SegmentTask(self._render, segment, members).run(self._session, self._device)
            kept = range(segment.keep_start - segment.start, segment.keep_stop - segment.start)
            made = [self._finish(codes, members[place]) for codes, place in zip(frames, kept, strict=True)]
        self._num_segments += 1
        self._next += count
        while self._first < self._next - self._before:
            self._held.popleft()
            self._first += 1
        return made
