"""The count of files on a frame's way: what is called for each frame is told from what is called once."""

from __future__ import annotations

from collections import Counter

from benchmarks.structure import FEWER, MORE, asked_attributes, files_of, per_frame, trace
from starvsr.windows import blended_windows


def test_calls_are_counted_by_file() -> None:
    calls, windows = trace(lambda: blended_windows(40, 16))
    assert windows and "windows.py" in files_of(calls)


def test_files_called_for_each_frame_are_told_from_others() -> None:
    fewer = Counter({("a.py", "each"): FEWER, ("b.py", "once"): 1, ("c.py", "now and then"): FEWER // 8})
    more = Counter({("a.py", "each"): MORE, ("b.py", "once"): 1, ("c.py", "now and then"): MORE // 8})
    assert per_frame(fewer, more) == {"a.py"}


def test_models_are_asked_for_nothing_by_name() -> None:
    """What the engine must know of a model is in its traits and its session."""
    assert asked_attributes() == []
