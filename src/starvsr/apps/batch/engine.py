"""Where the orders of a batch are done: the protocol of engines, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

Order = dict[str, Any]
"""What a worker is asked to do; see `starvsr.apps.batch.clip_worker`."""


@dataclass(frozen=True)
class Worker:
    """A worker that is ready.

    Args:
        name: Its name, unique in a run.
        kind: The kind of its device: results of one kind have the same bytes.
        place: Where it is, for people: host, process, device.
    """

    name: str
    kind: str
    place: str


@dataclass(frozen=True)
class Reply:
    """An order has come to its end.

    Args:
        worker: Name of the worker.
        order: The order.
        content: What the worker answered; None when the worker was lost.
        loss: How it was lost, in words.
        took_its_machine: Whether the machine was lost with it, which is hardly the clip's fault.
    """

    worker: str
    order: Order
    content: dict[str, Any] | None
    loss: str = ""
    took_its_machine: bool = False


class Engine(Protocol):
    """Workers, started where there are devices, and started again when they die.

    An engine knows no clips: it brings an order to a worker and tells how it ended, each order exactly once. Results do
    not depend on it. All methods are called from one thread.
    """

    def start(self) -> None:
        """Begin to start workers.

        Raises:
            StarVsrError: There is nothing to start them on.
        """
        ...

    def idle(self) -> list[Worker]:
        """Return the workers that have no order.

        Raises:
            StarVsrError: No worker is there, and none will come.
        """
        ...

    def submit(self, worker: str, order: Order) -> None:
        """Give an idle worker an order."""
        ...

    def wait(self, seconds: float) -> list[Reply]:
        """Return the orders that came to an end; waits for one, but not longer than this."""
        ...

    def progress(self) -> list[dict[str, Any]]:
        """Return what each worker with an order says about it, not older than a few seconds."""
        ...

    @property
    def notes(self) -> list[str]:
        """Sentences that the user should read, each once."""
        ...

    def stop(self) -> None:
        """Ask all workers to give up what they do; finished parts are kept."""
        ...

    def close(self) -> None:
        """End all workers; harmless when closed."""
        ...
