"""What the comparison of stand-ins for processors leaves out, and what it must not overlook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.reliability import processors

SAME = {"plan": "a" * 64, "journal": "b" * 64, "files": "c", "times": "d", "encoded": "e"}


@pytest.mark.parametrize("kind", ["plan", "journal", "files", "times"])
def test_a_difference_fails(kind: str) -> None:
    text, failures = processors.compare({"one": {"job": SAME}, "other": {"job": SAME | {kind: "0"}}})
    assert failures == 1 and "differ" in text


def test_encoded_pixels_may_differ() -> None:
    text, failures = processors.compare({"one": {"job": SAME}, "other": {"job": SAME | {"encoded": "0"}}})
    assert failures == 0 and f"| job | `{'a' * 16}` | `{'b' * 16}` | equal | differs |" in text


def test_of_the_journal_only_what_follows_from_pixels_is_left_out() -> None:
    line = b'12345678 {"kind":"part","start":3,"stop":9,"cuts":[4],"facts":{"num_frames":6,"size":12,"sha256":"x"}}\n'
    assert processors._without_pixels(line) == [
        {"kind": "part", "start": 3, "stop": 9, "cuts": [4], "facts": {"num_frames": 6}}
    ]


def test_a_job_is_recorded_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "JOBS", {"short": ("images", "out.mkv", {"model": "bicubic"})})
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.fromarray(np.full((32, 32, 3), 60 * number, np.uint8)).save(tmp_path / "images" / f"{number}.png")
    found = []
    for turn in ("first", "second"):
        (tmp_path / turn).mkdir()
        found.append(processors.record_jobs(["short"], tmp_path, tmp_path / turn))
    assert found[0] == found[1] and set(found[0]["short"]) == set(SAME)
    assert not list(tmp_path.rglob("*.job"))
