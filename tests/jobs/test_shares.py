"""Shares of a job made by several workers: the bytes of an undisturbed run, whatever is interrupted or lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import starvsr
from starvsr.api import prepare
from starvsr.engine.progress import CancelToken, Progress
from starvsr.errors import Cancelled, JobError
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.journal import read_journal
from starvsr.jobs.lock import JobLock
from starvsr.jobs.part_plan import PartPlan
from starvsr.jobs.shares import make_share, plan_shares, shares_of
from starvsr.jobs.state import JobState
from tests.engine.test_stream import chunks
from tests.jobs.interrupting import QUICK, sha256_of

SHARE = 20


@pytest.fixture(scope="module")
def expected(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("whole") / "o.mkv"
    starvsr.upscale(clip, out, **QUICK)
    return sha256_of(out)


def test_shares_are_runs_of_neighbouring_parts_that_leave_nothing_out() -> None:
    plan = PartPlan.of(100, (), chunks(8, 8), 8)
    shares = shares_of(plan, 20)
    assert [index for parts in shares for index in parts] == list(range(len(plan.parts)))
    frames = [plan.parts[parts.stop - 1].stop - plan.parts[parts.start].start for parts in shares]
    assert sum(frames) == 100
    assert all(20 <= count < 28 for count in frames[:-1])
    assert shares_of(plan, 1000) == [range(len(plan.parts))]


def test_shares_in_any_order_and_the_join_give_the_bytes_of_one_run(clip: Path, tmp_path: Path, expected: str) -> None:
    out = tmp_path / "o.mkv"
    shares = plan_shares(prepare(clip, out, **QUICK), SHARE)
    assert shares.num_shares > 2
    assert shares.missing == tuple(range(shares.num_shares))
    assert shares.num_frames == 70
    for index in reversed(shares.missing):
        assert make_share(prepare(clip, out, **QUICK), SHARE, index) == 0
    result = prepare(clip, out, **QUICK).run()
    assert result.num_kept == 70  # nothing was left to make
    assert sha256_of(out) == expected
    assert not job_path(out).exists()


def test_what_no_worker_made_is_made_at_the_join(clip: Path, tmp_path: Path, expected: str) -> None:
    out = tmp_path / "o.mkv"
    plan_shares(prepare(clip, out, **QUICK), SHARE)
    make_share(prepare(clip, out, **QUICK), SHARE, 1)
    JobFolder(job_path(out)).part(4).unlink(missing_ok=True)
    result = prepare(clip, out, **QUICK).run()
    assert 0 < result.num_kept < 70
    assert sha256_of(out) == expected


def test_an_interrupted_share_continues_with_its_finished_parts(clip: Path, tmp_path: Path, expected: str) -> None:
    out = tmp_path / "o.mkv"
    shares = plan_shares(prepare(clip, out, **QUICK), SHARE)
    token = CancelToken()

    def stop(report: Progress) -> None:
        if report.num_done > 12:
            token.cancel()

    with pytest.raises(Cancelled):
        make_share(prepare(clip, out, **QUICK), SHARE, 0, on_progress=stop, cancel=token)
    finished = JobState(read_journal(JobFolder(job_path(out)).share(0))[0]).num_frames
    assert finished >= 8
    assert plan_shares(prepare(clip, out, **QUICK), SHARE).missing == shares.missing
    assert make_share(prepare(clip, out, **QUICK), SHARE, 0) == finished
    assert 0 not in plan_shares(prepare(clip, out, **QUICK), SHARE).missing
    for index in shares.missing[1:]:
        make_share(prepare(clip, out, **QUICK), SHARE, index)
    prepare(clip, out, **QUICK).run()
    assert sha256_of(out) == expected


def test_a_damaged_part_of_a_share_is_made_again(clip: Path, tmp_path: Path, expected: str) -> None:
    out = tmp_path / "o.mkv"
    shares = plan_shares(prepare(clip, out, **QUICK), SHARE)
    for index in shares.missing:
        make_share(prepare(clip, out, **QUICK), SHARE, index)
    part = JobFolder(job_path(out)).part(0)
    part.write_bytes(part.read_bytes()[:-9])
    assert make_share(prepare(clip, out, **QUICK), SHARE, 0) > 0
    part.write_bytes(part.read_bytes()[:-9])
    result = prepare(clip, out, **QUICK).run()
    assert any("damaged" in note for note in result.notes)
    assert sha256_of(out) == expected


def test_shares_of_other_settings_or_without_a_plan_are_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mkv"
    with pytest.raises(JobError, match="plan it once more"):
        make_share(prepare(clip, out, **QUICK), SHARE, 0)
    plan_shares(prepare(clip, out, **QUICK), SHARE)
    with pytest.raises(JobError, match="--crf"):
        make_share(prepare(clip, out, **{**QUICK, "crf": 30}), SHARE, 0)


def test_one_worker_at_a_time_makes_a_share(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mkv"
    plan_shares(prepare(clip, out, **QUICK), SHARE)
    lock = JobLock(JobFolder(job_path(out)).share(0).with_suffix(".lock"))
    try:
        with pytest.raises(JobError, match="another process"):
            make_share(prepare(clip, out, **QUICK), SHARE, 0)
    finally:
        lock.release()
