"""Turn interlaced frames into progressive ones, one for one, so that the frame count stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph


class Deinterlacer:
    """A bwdif filter that gives each output frame the timestamp of its input frame.

    Args:
        only_flagged: Leave frames alone that the stream does not flag as interlaced.
    """

    def __init__(self, *, only_flagged: bool) -> None:
        self._only_flagged = only_flagged
        self._graph: Graph | None = None
        self._shape = (0, 0, "")
        self._times: deque[tuple[int | None, int, Any]] = deque()
        self._pushed = 0

    def push(self, frame: Any) -> Iterator[Any]:
        """Put a frame in; yield the frames that are ready (they lag by one). Another size begins a new filter."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and shape != self._shape:
            yield from self.flush()
        if self._graph is None:
            self._graph, self._shape = self._build(frame), shape
        self._times.append((frame.pts, frame.duration, frame.time_base))
        frame.pts, frame.time_base = self._pushed, Fraction(1, 25)
        self._pushed += 1
        self._graph.vpush(frame)
        yield from self._pull()

    def flush(self) -> Iterator[Any]:
        """Yield what is still inside."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pull()
            self._graph = None

    def _build(self, frame: Any) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
        )
        which = "interlaced" if self._only_flagged else "all"
        bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={which}")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        return graph

    def _pull(self) -> Iterator[Any]:
        if self._graph is None:
            return
        while self._times:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            frame.pts, frame.duration, frame.time_base = self._times.popleft()
            yield frame
