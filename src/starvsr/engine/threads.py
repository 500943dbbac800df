"""Read ahead and write behind the network, each in a thread with a small queue: memory stays flat.

An error in a thread comes out in the caller's thread; leaving the ``with`` block stops and joins the thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from starvsr.engine.progress import CancelToken
from starvsr.errors import Cancelled

Item = TypeVar("Item")
_PATIENCE = 0.1  # seconds between checks of the cancellation flag


class _Worker(Generic[Item]):
    """A thread, its queue, and the error that it met."""

    def __init__(self, name: str, depth: int, cancel: CancelToken) -> None:
        self._queue: queue.Queue[Item | None] = queue.Queue(depth)
        self._cancel = cancel
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _work(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            self._work()
        except _Stopped:
            pass
        except BaseException as error:
            self._error = error

    def _put(self, item: Item | None) -> None:
        """Queue an item; raise when the work is cancelled or the other thread has ended."""
        while True:
            self._look_up()
            try:
                return self._queue.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue

    def _get(self) -> Item | None:
        while True:
            self._look_up()
            try:
                return self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                continue

    def _look_up(self) -> None:
        if threading.current_thread() is self._thread:
            if self._stopped.is_set() or self._cancel.is_cancelled:
                raise _Stopped
            return
        self._cancel.raise_if_cancelled()
        if self._error is not None:
            raise self._error
        if not self._thread.is_alive() and self._queue.empty():
            raise self._error or Cancelled("the worker thread has gone")

    def _stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class ReadAhead(_Worker[Item]):
    """Iterate a source in a thread, at most ``depth`` items ahead of who asks for them."""

    def __init__(self, source: Iterable[Item], depth: int, cancel: CancelToken) -> None:
        super().__init__("starvsr-read", depth, cancel)
        self._source = source

    def __enter__(self) -> ReadAhead[Item]:
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._stop()

    def __iter__(self) -> Iterator[Item]:
        """Yield the items in order; an error of the source comes after the items before it."""
        while True:
            item = self._get_or_error()
            if item is None:
                return
            yield item

    def _get_or_error(self) -> Item | None:
        while True:
            self._cancel.raise_if_cancelled()
            try:
                return self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    if self._error is not None:
                        raise self._error from None
                    return None

    def _work(self) -> None:
        for item in self._source:
            self._put(item)
        self._put(None)


class WriteBehind(_Worker[Item]):
    """Hand items to a sink in a thread; ``put`` waits while ``depth`` items are not yet taken."""

    def __init__(self, sink: Callable[[Item], object], depth: int, cancel: CancelToken) -> None:
        super().__init__("starvsr-write", depth, cancel)
        self._sink = sink

    def __enter__(self) -> WriteBehind[Item]:
        """Begin to write."""
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Queue an item; raises what the sink raised before."""
        self._put(item)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is written; after an error, drop what is queued."""
        if kind is None:
            try:
                self._put(None)
                while self._thread.is_alive():
                    self._thread.join(_PATIENCE)
                    self._cancel.raise_if_cancelled()
            finally:
                self._stop()
            if self._error is not None:
                raise self._error
        else:
            self._stop()

    def _work(self) -> None:
        while True:
            item = self._get()
            if item is None:
                return
            self._sink(item)
            del item


class _Stopped(Exception):
    """The thread was asked to end."""
