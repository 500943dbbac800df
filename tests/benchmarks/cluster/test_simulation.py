"""What a simulated cluster must show."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.cluster.simulation import Outcome, broken_promises, table_of

WELL = Outcome(
    clips=200,
    damaged=2,
    done=198,
    failed=2,
    tries_of_damaged=(3,),
    workers_killed=3,
    redone=3,
    exit_status=1,
    last_line="198 done, 0 left, 2 failed",
    driver_megabytes=160.0,
    driver_growth=1.5,
)


def test_an_outcome_that_is_well_breaks_nothing() -> None:
    assert broken_promises(WELL) == []
    assert "| segments lost with them and begun again (at most one with each) | 3 |" in table_of(WELL)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"missing": 1}, "1 clips"),
        ({"done": 197}, "197 done"),
        ({"tries_of_damaged": (2, 3)}, "(2, 3)"),
        ({"other_bytes": 1}, "differ"),
        ({"redone": 4}, "4 segments for 3 kills"),
        ({"done_twice": 1}, "although they were delivered"),
        ({"driver_megabytes": 301.0}, "301.0 MB"),
        ({"driver_growth": 11.0}, "grew by 11.0 MB"),
        ({"exit_status": 0}, "ended with 0"),
        ({"last_line": "198 done, 1 left, 1 failed"}, "1 left"),
    ],
)
def test_each_broken_promise_is_told(change: dict[str, Any], told: str) -> None:
    broken = broken_promises(dataclasses.replace(WELL, **change))
    assert len(broken) == 1 and told in broken[0]
