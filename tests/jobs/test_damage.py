"""Damaged jobs: what is damaged is found, and that alone is made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from starvsr import upscale
from starvsr.engine.progress import Progress
from starvsr.errors import JobError
from tests.jobs.interrupting import QUICK, break_at, records, run_to_end, sha256_of


@pytest.mark.parametrize(("which", "how"), [(0, "flip"), (3, "cut"), (5, "gone"), (0, "line"), (4, "line")])
def test_damage_is_found_and_that_part_alone_made_again(which: int, how: str, clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out = tmp_path / "o.mp4"
    break_at(clip, out, 60, **QUICK)
    folder = tmp_path / "o.mp4.job"
    num_parts = len(records(out, "part"))
    assert num_parts > 5
    _spoil(folder, which, how)
    break_at(clip, out, 64, **QUICK)
    if how != "line":
        assert [record["index"] for record in records(out, "lost")] == [which]
    assert records(out, "run")[-1]["kept"] == num_parts - 1
    assert len(records(out, "part")) >= num_parts
    result = run_to_end(clip, out, **QUICK)
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mp4")
    assert result.num_frames == 70


def _spoil(folder: Path, which: int, how: str) -> None:
    part = folder / f"part_{which:06}"
    content = bytearray(part.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 4
        part.write_bytes(content)
    elif how == "cut":
        part.write_bytes(content[: len(content) // 2])
    elif how == "gone":
        part.unlink()
    else:
        lines = (folder / "journal").read_bytes().splitlines(keepends=True)
        place = next(i for i, line in enumerate(lines) if b'"part","index":%d,' % which in line)
        lines[place] = lines[place].replace(b'"stop":', b'"stop":1', 1)
        (folder / "journal").write_bytes(b"".join(lines))


def test_a_part_that_is_spoiled_while_the_job_runs_is_made_again(clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out = tmp_path / "o.mp4"

    def spoil(report: Progress) -> None:
        if report.stage == "joining" and not spoiled:
            _spoil(tmp_path / "o.mp4.job", 2, "flip")
            spoiled.append(True)

    spoiled: list[bool] = []
    result = upscale(clip, out, on_progress=spoil, **QUICK)
    assert spoiled and any("made again" in note for note in result.notes)
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mp4")


def test_a_spoiled_plan_is_written_anew_from_the_same_command(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    break_at(clip, out, 40, **QUICK)
    plan = tmp_path / "o.mp4.job" / "plan.json"
    plan.write_text(plan.read_text().replace('"segment": 4', '"segment": 5'))
    with pytest.raises(JobError, match="damaged"):
        upscale(clip, out, **{**QUICK, "segment": 5})
    assert run_to_end(clip, out, **QUICK).num_kept > 0
