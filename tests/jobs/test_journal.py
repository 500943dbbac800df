"""The journal, the lock and the fingerprint: what each promises, and what it makes of damage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starvsr.errors import JobError
from starvsr.jobs.fingerprint import fingerprint, marks
from starvsr.jobs.journal import Journal, read_journal
from starvsr.jobs.lock import JobLock, holder_of
from starvsr.jobs.manifest import part_frames
from starvsr.jobs.state import JobState, PartRecord, end_record
from starvsr.video import probe
from starvsr.video.parts.part_file import PartFacts

RECORDS = [{"kind": "part", "index": i, "text": "é\n"} for i in range(4)]


def _write(path: Path) -> bytes:
    with Journal(path) as journal:
        for record in RECORDS:
            journal.append(record)
    return path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_byte_costs_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "journal"
    path.unlink(missing_ok=True)
    content = bytearray(_write(path))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    records, damaged = read_journal(path)
    assert damaged >= 1
    assert all(record in RECORDS for record in records)
    assert len(records) >= len(RECORDS) - 2  # two, where the break between lines was hit


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_a_torn_end_is_taken_out_and_the_journal_goes_on(length: int, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    content = _write(path)
    path.write_bytes(content[: min(length, len(content))])
    with Journal(path) as journal:
        whole = list(journal.records)
        journal.append({"kind": "end"})
    assert whole == RECORDS[: len(whole)]
    assert read_journal(path) == ([*whole, {"kind": "end"}], 0)


def test_a_lock_is_held_against_others_and_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys, os, signal; from pathlib import Path; from starvsr.jobs.lock import JobLock;"
        "JobLock(Path(sys.argv[1])); print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert holder_of(path) == other.pid
        with pytest.raises(JobError, match=f"number {other.pid}"):
            JobLock(path)
        other.kill()
        other.wait()
    assert path.read_text() == f"{other.pid}\n"  # a number left behind means nothing
    assert holder_of(path) is None
    lock = JobLock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_on_a_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = JobLock(path)
    path.unlink()
    second = JobLock(path)  # on the new file
    assert path.exists()
    first.release()
    with pytest.raises(JobError):
        JobLock(path)
    second.release()


def test_a_fingerprint_sees_content_and_not_names_or_dates(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.mkv"
    copy.write_bytes(clip.read_bytes())
    os.utime(copy, (1, 1))
    assert fingerprint(probe(copy)) == fingerprint(probe(clip))
    before = marks(probe(copy))
    info = probe(copy)
    content = bytearray(clip.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    assert fingerprint(info) != fingerprint(probe(clip))
    assert marks(info) != before


def test_large_files_are_sampled_at_bounded_cost(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starvsr.video import content as module

    monkeypatch.setattr(module, "_WHOLE", 64 * 100)
    monkeypatch.setattr(module, "_SAMPLE_BYTES", 100)
    info = probe(clip)
    whole = fingerprint(info)
    path = tmp_path / "in.mkv"
    content = clip.read_bytes()
    assert len(content) > 6400
    for place in (5, len(content) - 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert fingerprint(_at(info, path)) != whole
    path.write_bytes(content)
    assert fingerprint(_at(info, path)) == whole


def _at(info, path: Path):
    from dataclasses import replace

    return replace(info, path=path)


def _part(index: int, length: int = 10) -> PartRecord:
    return PartRecord(index, index * length, (index + 1) * length, PartFacts(length, 2, 99, "x"))


def test_gaps_are_found_at_the_end_and_in_the_middle() -> None:
    assert JobState([]).gaps(2) == [range(0, 2)]
    made = [_part(i).as_record() for i in range(5)]
    state = JobState(made)
    assert state.gaps(7) == [range(5, 7)] and not state.is_complete
    state = JobState([*made, end_record(5, 50, ["n"])])
    assert state.is_complete and state.num_frames == 50
    del state.parts[0], state.parts[2], state.parts[3]
    assert state.gaps(5) == [range(0, 1), range(2, 4)] and not state.is_complete
    lost = [*made, end_record(5, 50, []), {"kind": "lost", "index": 4}]
    assert JobState(lost).gaps(5) == [range(4, 5)]


def test_parts_are_about_two_seconds() -> None:
    from fractions import Fraction

    assert [part_frames(Fraction(rate)) for rate in (1, 4, 24, 60, 1000)] == [8, 8, 48, 120, 240]
