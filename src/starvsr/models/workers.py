"""Work in pieces on threads of their own.

A layer that is shared among all threads makes them meet at its end, many hundred times a frame; beside other programs
each meeting waits for the thread that was interrupted. Here a piece of the work (some frames, or some rows) goes
through several layers on one thread, and whichever thread is free takes the next one. A piece is cut and computed in
the same way however many threads there are, so its result has the same bytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = Callable[[], object]
Result = TypeVar("Result")

MOST = 16
"""Most threads: what the pieces under way take of memory stays within plans that know no number of threads."""


class Workers:
    """Threads that each compute one piece at a time; made by :func:`workers`. Without a pool: the caller's thread."""

    def __init__(self, pool: ThreadPoolExecutor | None, count: int) -> None:
        self.count = count
        self._pool = pool

    def run(self, pieces: Iterable[Piece]) -> None:
        """Compute pieces that do not depend on each other, and wait for all; raises what one of them raised."""
        if self._pool is None:
            for piece in pieces:
                piece()
            return
        waiting = [self._submit(piece) for piece in pieces]
        try:
            for future in waiting:
                future.result()
        finally:
            _cancel_and_wait(waiting)

    def in_order(self, groups: Iterable[tuple[Result, Iterable[Piece]]], ahead: int) -> Iterator[Result]:
        """Yield each group's result when its pieces are computed, while up to ``ahead`` later groups are under way."""
        if self._pool is None:
            for result, pieces in groups:
                self.run(pieces)
                yield result
            return
        under_way: deque[tuple[Result, list[Future[object]]]] = deque()
        try:
            for result, pieces in groups:
                under_way.append((result, [self._submit(piece) for piece in pieces]))
                if len(under_way) > ahead:
                    yield _first(under_way)
            while under_way:
                yield _first(under_way)
        finally:
            for _, waiting in under_way:
                _cancel_and_wait(waiting)

    def _submit(self, piece: Piece) -> Future[object]:
        assert self._pool is not None
        return self._pool.submit(_in_mode, torch.is_inference_mode_enabled(), piece)


@contextmanager
def workers(device: torch.device) -> Iterator[Workers]:
    """Give threads for work on a device: as many as torch may use, at most :data:`MOST`; none beside other devices.

    How many threads torch may use in the caller's own thread stays as it is.
    """
    count = min(MOST, torch.get_num_threads()) if device.type == "cpu" else 1
    if count == 1:
        yield Workers(None, 1)
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(count, "starvsr-network") as pool:
        ready = threading.Barrier(count)
        wait([pool.submit(_prepare, ready) for _ in range(count)])
        torch.set_num_threads(before)  # the last word is also what threads of others begin with
        yield Workers(pool, count)


def _prepare(ready: threading.Barrier) -> None:
    """Limit a thread of the pool to one thread of its own; waits for the others, so that each one is set up."""
    torch.get_num_threads()  # a thread's first question sets its number to that of the process: before, not after
    torch.set_num_threads(1)
    ready.wait()


def _in_mode(is_inference: bool, piece: Piece) -> object:
    with torch.inference_mode(is_inference), torch.set_grad_enabled(False):
        return piece()


def _first(under_way: deque[tuple[Result, list[Future[object]]]]) -> Result:
    for future in under_way[0][1]:
        future.result()
    return under_way.popleft()[0]


def _cancel_and_wait(waiting: list[Future[object]]) -> None:
    """Drop what has not begun and wait for what has: memory that pieces write to is in use until then."""
    for future in waiting:
        future.cancel()
    wait(waiting)
