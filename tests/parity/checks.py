"""The registry of checks: which function knows a golden case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.parity.golden import Case, Row

Check = Callable[[Case], None]


@dataclass(frozen=True)
class Entry:
    """A check, the family it belongs to, and how to tell its cases."""

    family: str
    recognises: Callable[[Case], bool]
    run: Check
    is_slow: bool = False


REGISTRY: list[Entry] = []


def check(family: str, recognises: Callable[[Case], bool], *, slow: bool = False) -> Callable[[Check], Check]:
    """Register a check; the first entry that recognises a case takes it."""

    def register(run: Check) -> Check:
        REGISTRY.append(Entry(family, recognises, run, slow))
        return run

    return register


def check_case(case: Case, *, slow: bool = False) -> None:
    """Run the check of a case; its rows are the result."""
    for entry in REGISTRY:
        if entry.recognises(case):
            if entry.is_slow and not slow:
                case.rows.append(_skipped(case, "slow: add --slow"))
                return
            case.part("*", partial(entry.run, case))
            case.close_report()
            return
    case.rows.append(_skipped(case, "no check for this kind of file"))


def _skipped(case: Case, why: str) -> Row:
    return Row(case.stem, "*", "not checked", note=why)
