"""Time is counted once, where it is spent, in generators and in what calls each other alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from benchmarks.speed.command_profile import PARTS, Profile


def _spend(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_part_is_told_without_what_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("profiled")

    class Inner:
        def work(self) -> int:
            _spend(0.03)
            return 3

    def outer(count: int) -> Iterator[int]:
        for _ in range(count):
            _spend(0.01)
            yield module.Inner().work()  # type: ignore[attr-defined]

    module.Inner, module.outer = Inner, outer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "profiled", module)
    profile = Profile()
    profile.watch("inner", "profiled", "Inner.work")
    profile.watch("outer", "profiled", "outer")
    for made in module.outer(2):  # type: ignore[attr-defined]
        assert made == 3
        _spend(0.05)  # the consumer's own
    assert profile.seconds["inner"] == pytest.approx(0.06, abs=0.015)
    assert profile.seconds["outer"] == pytest.approx(0.02, abs=0.015)


def test_all_parts_are_there() -> None:
    from importlib import import_module

    for _, module, path in PARTS:
        owner = import_module(module)
        for name in path.split("."):
            owner = getattr(owner, name)
        assert callable(owner)
