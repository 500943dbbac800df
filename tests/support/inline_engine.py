"""Workers of a batch in this process, one order at a time; they can be made to die."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starvsr.apps.batch.clip_worker import ClipWorker
from starvsr.apps.batch.engine import Order, Reply, Worker
from starvsr.apps.batch.settings import WorkSettings


class Died(BaseException):
    """Stands for a kill: raised in the middle of an order."""


class InlineEngine:
    """Does each order when it is waited for, and keeps a list of them.

    Args:
        settings: Of the batch.
        num_workers: Workers that take orders before one is done.
        before: Called with each order before it is done; may raise `Died`, or return a reply in place of the worker's.
        kinds: Kind of device that each worker tells; None for the real one.
    """

    def __init__(
        self,
        settings: WorkSettings,
        num_workers: int = 1,
        before: Callable[[Order], dict[str, Any] | None] = lambda order: None,
        kinds: tuple[str, ...] | None = None,
        takes_machine: bool = False,
    ) -> None:
        self.settings, self._before, self._takes_machine = settings, before, takes_machine
        self._worker = ClipWorker(settings.as_dict())
        kinds = kinds or ("cpu",) * num_workers
        self._workers = {f"w{n}": Worker(f"w{n}", kind, "here") for n, kind in enumerate(kinds)}
        self._under_way: list[tuple[str, Order]] = []
        self.orders: list[Order] = []
        self.most_under_way = 0
        self.notes: list[str] = []
        self.is_closed = False

    def start(self) -> None:
        pass

    def idle(self) -> list[Worker]:
        busy = {name for name, _ in self._under_way}
        return [worker for name, worker in self._workers.items() if name not in busy]

    def submit(self, worker: str, order: Order) -> None:
        assert worker not in {name for name, _ in self._under_way}
        self._under_way.append((worker, order))
        self.orders.append(order)
        self.most_under_way = max(self.most_under_way, len(self._under_way))

    def wait(self, seconds: float) -> list[Reply]:
        if not self._under_way:
            return []
        worker, order = self._under_way.pop(0)
        try:
            content = self._before(order) or self._worker.do(order)
        except Died:
            return [Reply(worker, order, None, "it was killed", self._takes_machine)]
        return [Reply(worker, order, content)]

    def progress(self) -> list[dict[str, Any]]:
        return []

    def stop(self) -> None:
        self._worker.stop()

    def close(self) -> None:
        self.is_closed = True
