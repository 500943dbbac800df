"""What the notes of workers are summed up to."""

from __future__ import annotations

import pytest

from benchmarks.cluster.counting_worker import Note
from benchmarks.cluster.scaling import table_of
from benchmarks.cluster.timeline import Mean, Timeline, timeline_of


def _order(pid: int, op: str, begin: float, end: float, what: str, processor: float = 0.0) -> list[Note]:
    share = 0 if op == "share" else None
    return [
        Note(what="begin", op=op, output="a", share=share, pid=pid, time=begin, processor=1.0),
        Note(what=what, op=op, output="a", share=share, pid=pid, time=end, processor=1.0 + processor),
    ]


def test_time_of_workers_is_told_by_what_they_did() -> None:
    notes = [
        *_order(1, "clip", 10, 12, "split", 0.5),
        *_order(1, "share", 13, 19, "share done", 0.1),
        *_order(2, "share", 12, 16, "share done", 0.3),
        *_order(1, "join", 19.5, 20, "done", 0.2),
    ]
    found = timeline_of(notes)
    assert (found.workers, found.seconds, found.num_shares) == (2, 10, 2)
    assert found.plan == Mean(1, 2, pytest.approx(0.5))
    assert found.share == Mean(2, 5, pytest.approx(0.2))
    assert found.join == Mean(1, 0.5, pytest.approx(0.2))
    assert found.between == pytest.approx((1 + 0.5) / 2)
    assert found.after == pytest.approx((0 + 4) / 2)


def test_efficiency_is_told_against_the_first_run() -> None:
    one = Mean(4, 5.1, 0.09)
    runs = [Timeline(n, seconds, one, one, one, 0.01, 0.5) for n, seconds in ((1, 40.0), (4, 12.5))]
    lines = table_of(runs, 5).splitlines()
    assert lines[0] == "|  | 1 worker | 4 workers |"
    assert "| efficiency | 1.000 | 0.800 |" in lines
    assert "| a share beside its 5 s | 100 ms | 100 ms |" in lines
