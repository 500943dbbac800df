"""The driver of a batch: hands clips to workers, takes their receipts, tries again, gives up, and keeps the record.

It holds no frame and no list of clips: clips wait in `clip_queue`, what became of them lies in the destination.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from starvsr.apps.batch.clip_queue import ClipQueue, Counts, Waiting
from starvsr.apps.batch.engine import Engine, Order, Reply, Worker
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.records import Record, RecordWriter
from starvsr.errors import TransferError

MOST_TRIES = 3
_MOST_LOSSES = 10  # with the machine of the worker: at some point it is the clip that brings machines down
_MOST_TRANSFER_FAILURES = 20  # in a row: the store is gone, not the clips
_REPORT_EVERY = 1.0
_FEW_TRANSFER_FAILURES = 3  # in a row, from which on they are not counted as tries of clips
_KIND_PATIENCE = 60.0  # seconds without a worker of the kind that the shares of a clip are bound to
_FIRST_PAUSE = 1.0
_WAIT = 0.5


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Args:
        counts: Clips by state.
        num_before: Of those that are done, how many were before this run.
        num_at_work: Orders under way.
        num_frames: Frames that this run has made.
        seconds: Since the first worker was ready; 0 before.
    """

    counts: Counts
    num_before: int
    num_at_work: int
    num_frames: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left, by clips; None before the first one."""
        ended = self.counts.total - self.counts.waiting - self.num_before
        return self.counts.waiting * self.seconds / ended if ended > 0 else None


@dataclass
class _Open:
    """A clip at work: whole, or in shares.

    Args:
        item: The clip.
        kind: The kind of device that all its shares are made on; "" while it is whole.
        shares: Shares to be given out.
        num_out: Orders under way.
        needs_join: Whether all its shares are made, and nobody joins them yet.
        error: Why it is given up or tried again, as soon as its last order is back.
    """

    item: Waiting
    kind: str = ""
    shares: deque[int] = field(default_factory=deque)
    num_out: int = 0
    needs_join: bool = False
    error: tuple[str, dict[str, Any]] | None = None


class Driver:
    """Runs a batch to its end.

    Args:
        queue: The clips.
        engine: The workers.
        destination: Where results and records go.
        on_progress: Called about once a second.
        on_event: Called with a sentence on what people should read: a clip that failed, a worker that was lost.
    """

    def __init__(
        self,
        queue: ClipQueue,
        engine: Engine,
        destination: Location,
        *,
        on_progress: Callable[[BatchProgress], None] = lambda progress: None,
        on_event: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._queue, self._engine, self._destination = queue, engine, destination
        self._on_progress, self._on_event = on_progress, on_event
        self._records = RecordWriter(destination)
        self._open: dict[int, _Open] = {}
        self._num_frames = 0
        self._transfer_failures = 0
        self._last_seen: dict[str, float] = {}  # kinds of devices
        self._told_notes: set[str] = set()
        self.num_lost = 0

    def run(self) -> Counts:
        """Do all clips that wait.

        Raises:
            StarVsrError: No worker can be started, or the destination is gone; what is finished is recorded.
        """
        began: float | None = None
        last_report = time.monotonic()
        before = self._queue.counts
        try:
            while True:
                for worker in self._engine.idle():
                    began = began or time.monotonic()
                    self._give_order(worker)
                self._tell_notes()
                if not self._open and self._queue.next_turn is None:
                    break
                now = time.monotonic()
                if now - last_report >= _REPORT_EVERY:
                    last_report = now
                    self._report(before, now - (began or now))
                for reply in self._engine.wait(_WAIT):
                    self._take(reply)
        finally:
            self._records.close()
        self._report(before, time.monotonic() - (began or last_report))
        return self._queue.counts

    def _report(self, before: Counts, seconds: float) -> None:
        under_way = sum(int(report.get("num_done", 0)) for report in self._engine.progress())
        num_out = sum(one.num_out for one in self._open.values())
        frames = self._num_frames + under_way
        self._on_progress(BatchProgress(self._queue.counts, before.done + before.failed, num_out, frames, seconds))

    def _tell_notes(self) -> None:
        for note in self._engine.notes:
            if note not in self._told_notes:
                self._told_notes.add(note)
                self._on_event(f"note: {note}")

    # ---- orders

    def _give_order(self, worker: Worker) -> None:
        """Give a worker the next order: what belongs to open clips first, so that few are open at a time."""
        self._last_seen[worker.kind] = time.monotonic()
        mine = {n: one for n, one in self._open.items() if one.error is None and one.kind == worker.kind}
        for position, one in mine.items():
            if one.needs_join:
                one.needs_join = False
                self._submit(worker, one, {"op": "join", **_order(position, one)})
                return
        left = {position: one for position, one in mine.items() if one.shares}
        if (not left or self._should_plan(left.values())) and self._begin_clip(worker, self._queue.take()):
            return
        for position, one in left.items():
            self._submit(worker, one, {"op": "share", "share": one.shares.popleft(), **_order(position, one)})
            return
        self._begin_clip(worker, self._orphans(worker))

    def _should_plan(self, left: Iterable[_Open]) -> bool:
        """Whether to plan another clip now: otherwise the shares run out before the plan is there."""
        num_out = sum(one.num_out for one in self._open.values())
        is_planning = any(one.num_out and not one.kind for one in self._open.values())
        return not is_planning and sum(len(one.shares) for one in left) <= num_out

    def _begin_clip(self, worker: Worker, items: list[Waiting]) -> bool:
        """Give a worker the first of these clips, if there is one."""
        for item in items[:1]:
            one = self._open[item.position] = _Open(item)
            self._submit(worker, one, {"op": "clip", **_order(item.position, one)})
        return bool(items)

    def _orphans(self, worker: Worker) -> list[Waiting]:
        """Return an open clip whose kind of device has been gone for a while: it begins anew on another kind."""
        now = time.monotonic()
        for one in self._open.values():
            is_gone = now - self._last_seen.get(one.kind, now) > _KIND_PATIENCE
            if one.num_out == 0 and one.kind not in ("", worker.kind) and is_gone:
                return [one.item]
        return []

    def _submit(self, worker: Worker, one: _Open, order: Order) -> None:
        one.num_out += 1
        self._records.finish(one.item.clip)  # the worker writes the next one
        self._engine.submit(worker.name, {**order, "kind": worker.kind})

    # ---- replies

    def _take(self, reply: Reply) -> None:
        position = reply.order["position"]
        one = self._open[position]
        one.num_out -= 1
        self._last_seen[reply.order["kind"]] = time.monotonic()
        content = reply.content
        if content is None:
            self._lost(one, reply)
        elif content["kind"] == "failed":
            one.error = one.error or (content["message"], content)
            self._transfer_failures = self._transfer_failures + 1 if content["is_transfer"] else 0
        elif content["kind"] == "stopped":
            one.error = one.error or ("it was stopped", {"is_stop": True})
        else:
            self._transfer_failures = 0
            self._go_on(one, reply, content)
        if one.num_out == 0:
            self._settle(position, one)
        if self._transfer_failures >= _MOST_TRANSFER_FAILURES and one.error is not None:
            raise TransferError(
                f"{self._transfer_failures} transfers in a row have failed, the last one with: {one.error[0]}; put "
                "that right, and the same command goes on"
            )

    def _go_on(self, one: _Open, reply: Reply, content: dict[str, Any]) -> None:
        if content["kind"] == "done":
            record = content["record"]
            self._num_frames += record["num_frames"] or 0
            self._queue.settle(
                one.item,
                "done",
                tries=record["tries"],
                frames=record["num_frames"] or 0,
                review=bool(record["review"]),
            )
            one.error = None
            one.shares.clear()
            del self._open[reply.order["position"]]
            if record["review"]:
                self._on_event(f"review: {one.item.clip.output}: {'; '.join(record['review'])}")
        elif content["kind"] == "split":
            one.kind = reply.order["kind"]
            one.shares.extend(content["missing"])

    def _lost(self, one: _Open, reply: Reply) -> None:
        self.num_lost += 1
        self._on_event(f"note: {reply.worker} was lost at {one.item.clip.output}: {reply.loss}; it is done elsewhere")
        if reply.order["op"] == "share" and reply.took_its_machine and one.item.losses + 1 < _MOST_LOSSES:
            one.item = Waiting(one.item.position, one.item.clip, one.item.tries, one.item.losses + 1)
            one.shares.appendleft(reply.order["share"])
            return
        one.error = one.error or (
            f"its worker was lost: {reply.loss}; is there enough memory?",
            {"is_loss": reply.took_its_machine},
        )

    def _settle(self, position: int, one: _Open) -> None:
        """Decide what becomes of a clip of which no order is under way."""
        if position not in self._open:
            return
        if one.error is None:
            one.needs_join = not one.shares and bool(one.kind)  # all shares are made: whoever is free joins them
            return
        del self._open[position]
        message, facts = one.error
        item, tries, losses = one.item, one.item.tries, one.item.losses
        if facts.get("is_stop"):
            self._queue.put_back(item, tries=tries, losses=losses, error=None, pause=None)
            return
        if facts.get("is_loss") and losses + 1 < _MOST_LOSSES:
            self._queue.put_back(item, tries=tries, losses=losses + 1, error=message, pause=None)
            return
        if facts.get("is_transfer") and self._transfer_failures > _FEW_TRANSFER_FAILURES:
            self._queue.put_back(item, tries=tries, losses=losses, error=message, pause=_FIRST_PAUSE)
            return
        tries += 1
        if tries < MOST_TRIES and not facts.get("is_final"):
            pause = _FIRST_PAUSE * 4 ** (tries - 1)
            self._queue.put_back(item, tries=tries, losses=losses, error=message, pause=pause)
            self._records.put(item.clip, Record.of(item.clip, self._destination, "waiting", tries, error=message))
            return
        self._queue.settle(item, "failed", tries=tries, error=message)
        self._records.put(item.clip, Record.of(item.clip, self._destination, "failed", tries, error=message))
        how = f"given up after {tries} tries" if tries > 1 else "given up"
        self._on_event(f"failed: {item.clip.output}: {message} ({how})")


def _order(position: int, one: _Open) -> Order:
    return {"position": position, "clip": one.item.clip.as_dict(), "tries": one.item.tries}
