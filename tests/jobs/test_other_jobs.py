"""A job that is not of this command, input or process is refused, with the difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from starvsr import upscale
from starvsr.engine.progress import Progress
from starvsr.errors import JobError, StarVsrError
from starvsr.jobs.lock import JobLock
from tests.jobs.interrupting import QUICK, break_at, records, run_to_end, sha256_of


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"crf": 20}, "--crf: none before, 20 now"),
        ({"scale": 3}, "--scale: 2.0 before, 3.0 now"),
        ({"segment": 6}, "--segment: 4 before, 6 now"),
        ({"on_corrupt": "skip"}, None),
        ({"threads": 1}, None),
    ],
)
def test_changed_options_are_refused_with_the_difference(
    changed: dict, said: str | None, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.mp4"
    break_at(clip, out, 40, **QUICK)
    if said is None:
        assert run_to_end(clip, out, **{**QUICK, **changed}).num_kept > 0
        return
    with pytest.raises(JobError, match="--restart") as caught:
        upscale(clip, out, **{**QUICK, **changed})
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert records(out, "part")  # the job is still there
    assert run_to_end(clip, out, **{**QUICK, **changed}, restart=True).num_kept == 0


def test_another_input_is_refused_and_a_moved_one_is_not(clip: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "o.mp4", tmp_path / "in.mkv"
    content = clip.read_bytes()
    source.write_bytes(content)
    break_at(source, out, 40, **QUICK)
    source.write_bytes(content[:-9] + bytes(9))
    with pytest.raises(JobError, match="same size, other content"):
        upscale(source, out, **QUICK)
    (tmp_path / "moved.mkv").write_bytes(content)
    assert run_to_end(tmp_path / "moved.mkv", out, **QUICK).num_kept > 0


def test_an_input_that_changes_while_it_is_read_is_noticed(clip: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "o.mp4", tmp_path / "in.mkv"
    source.write_bytes(clip.read_bytes())

    def grow(report: Progress) -> None:
        if report.num_done == 30:
            with source.open("ab") as file:
                file.write(b"more")

    with pytest.raises(StarVsrError, match="changed while it was read"):
        upscale(source, out, on_progress=grow, **QUICK)
    assert not out.exists()
    with pytest.raises(JobError, match="the input has changed"):
        upscale(source, out, **QUICK)
    source.write_bytes(clip.read_bytes())
    assert run_to_end(source, out, **QUICK).num_kept >= 16
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mp4")


def test_two_processes_on_one_job_are_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    break_at(clip, out, 40, **QUICK)
    lock = JobLock(tmp_path / "o.mp4.job" / "lock")
    try:
        with pytest.raises(JobError, match="another process"):
            upscale(clip, out, **QUICK)
        assert records(out, "part")
    finally:
        lock.release()
    assert run_to_end(clip, out, **QUICK).num_kept > 0


def test_a_folder_that_is_no_job_is_left_alone(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "o.mp4.job"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(JobError, match="no job of starvsr"):
        upscale(clip, tmp_path / "o.mp4", **QUICK, restart=True)
    assert (folder / "diary.txt").read_text() == "mine"


def test_the_plan_can_be_read(clip: Path, tmp_path: Path) -> None:
    break_at(clip, tmp_path / "o.mp4", 40, **QUICK)
    plan = json.loads((tmp_path / "o.mp4.job" / "plan.json").read_text())
    assert plan["input"]["bytes"] == clip.stat().st_size
    assert plan["options"] == {"model": "bicubic", "scale": 2.0, "segment": 4}
    assert plan["part_frames"] == 8 and plan["size"] == [64, 48]
    assert {"av", "torch", "starvsr", "libavcodec"} <= set(plan["versions"])
