"""Jobs that are interrupted and resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from starvsr import upscale
from starvsr.engine.progress import Progress, UpscaleResult
from starvsr.jobs.journal import read_journal

QUICK = {"model": "bicubic", "scale": 2, "segment": 4}


class Broken(Exception):
    """Stands for whatever ends a process that can still tidy up."""


def breaker(frame: int) -> Callable[[Progress], None]:
    def look(report: Progress) -> None:
        if report.stage == "upscaling" and report.num_done >= frame:
            raise Broken

    return look


def break_at(clip: Path, out: Path, frame: int, **options) -> None:
    with pytest.raises(Broken):
        upscale(clip, out, on_progress=breaker(frame), **options)


def break_after_part(clip: Path, out: Path, **options) -> None:
    """Break a job as soon as a part is recorded, however far the frames are by then."""

    def look(report: Progress) -> None:
        if report.stage == "upscaling" and records(out, "part"):
            raise Broken

    with pytest.raises(Broken):
        upscale(clip, out, on_progress=look, **options)


def run_to_end(clip: Path, out: Path, **options) -> UpscaleResult:
    result = upscale(clip, out, **options)
    assert not out.with_name(out.name + ".job").exists()
    return result


def records(out: Path, kind: str) -> list[dict]:
    journal = out.with_name(out.name + ".job") / "journal"
    return [record for record in read_journal(journal)[0] if record["kind"] == kind]


def sha256_of(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    content = b"".join(file.name.encode() + file.read_bytes() for file in sorted(path.iterdir()))
    return hashlib.sha256(content).hexdigest()
