"""The plan of segments and parts: complete before any work, a function of the input alone, checked at resume."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr import upscale
from starvsr.engine.progress import Progress
from starvsr.errors import CorruptFrameError, JobError
from starvsr.jobs.part_plan import PartPlan
from tests.engine.test_stream import chunks
from tests.jobs.interrupting import QUICK, Broken, break_at, records, run_to_end, sha256_of
from tests.support.doubles import NearestUpscaler
from tests.video.clips import make_clip

CUTS = [20, 26, 50]


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.job")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.lists(st.integers(0, 200)), st.integers(4, 20), st.integers(0, 1), st.integers(1, 40))
def test_parts_hold_every_frame_once_and_end_where_segments_are_final(
    num_frames: int, cuts: list[int], length: int, fades: int, part_frames: int
) -> None:
    plan = PartPlan.of(num_frames, cuts, chunks(6, 8, length=length, overlap=2, crossfade=2 * fades), part_frames)
    assert [i for part in plan.parts for i in range(part.start, part.stop)] == list(range(num_frames))
    for part in plan.parts:
        made = plan.segments[part.first_segment : part.stop_segment]
        assert made and made[-1].final_stop == part.stop
        needed = plan.stretch(part.index, part.index + 1)
        first = needed[0].keep_start - needed[0].fade_before
        assert first <= part.start and (needed[0] == made[0] or needed[0].fade_after)
        enough = [s for s in made[:-1] if s.final_stop - part.start >= part_frames]
        assert not enough  # no part is longer than it must be
    assert plan.stretch(0, len(plan.parts)) == plan.segments


def test_the_plan_is_written_before_the_first_segment_is_rendered(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    seen = []

    class Looking(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):
            seen.append((_folder(out) / "parts.json").read_bytes())
            return super().upscale_clip(lq, **arguments)

    upscale(clip, out, upscaler=Looking(), scale=1, segment=4)
    assert len(set(seen)) == 1
    plan = json.loads(seen[0])
    assert (plan["format"], plan["num_frames"], plan["cuts"]) == (1, 70, CUTS)
    assert len(seen) == len(plan["segments"]) and [part[0] for part in plan["parts"]][:2] == [0, 8]


def test_progress_knows_the_number_of_frames_that_the_container_does_not_tell(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.h264", count=9, size=(32, 24))
    told: list[Progress] = []
    upscale(source, tmp_path / "o.mp4", on_progress=told.append, **QUICK)
    assert told[-1].num_frames == 9


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "format"])
def test_a_damaged_plan_is_made_again_and_finished_parts_stay(damage: str, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    break_at(clip, out, 40, **QUICK)
    path = _folder(out) / "parts.json"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = (
            content.replace(b"[20, 26", b"[20, 27") if damage == "changed" else content.replace(b": 1,", b": 3,", 1)
        )
        path.write_bytes(content[:-40] if damage == "cut" else changed)
    break_at(clip, out, 60, **QUICK)
    assert path.read_bytes() == content
    assert run_to_end(clip, out, **QUICK).num_kept >= 48
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mp4")


@pytest.mark.parametrize("change", ["format", "segments"])
def test_a_plan_of_another_version_is_refused_and_nothing_is_lost(change: str, clip: Path, tmp_path: Path) -> None:
    from starvsr.jobs.part_plan_file import _checksum

    out = tmp_path / "o.mp4"
    break_at(clip, out, 40, **QUICK)
    path = _folder(out) / "parts.json"
    before = path.read_text()
    plan = json.loads(before)
    del plan["checksum"]
    if change == "format":
        plan["format"] = 99
    else:  # as a version would write it that cuts otherwise
        plan["segments"][1][1] += 1
    path.write_text(json.dumps({**plan, "checksum": _checksum(plan)}))
    said = "has format 99, and this version of starvsr reads format 1" if change == "format" else "are not those"
    with pytest.raises(JobError, match=f"{re.escape(said)}.*--restart"):
        upscale(clip, out, **QUICK)
    assert records(out, "part")
    path.write_text(before)
    assert run_to_end(clip, out, **QUICK).num_kept >= 24


def test_parts_of_another_plan_are_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    break_at(clip, out, 40, **QUICK)
    (_folder(out) / "parts.json").unlink()
    journal = _folder(out) / "journal"
    import zlib

    lines = []
    for line in journal.read_bytes().splitlines():
        record = json.loads(line[9:])
        if record["kind"] == "part plan":
            record["digest"] = "0" * 64
        text = json.dumps(record, separators=(",", ":")).encode()
        lines.append(b"%08x %s\n" % (zlib.crc32(text), text))
    journal.write_bytes(b"".join(lines))
    with pytest.raises(JobError, match=r"made by another plan.*--restart"):
        upscale(clip, out, **QUICK)
    assert run_to_end(clip, out, **QUICK, restart=True).num_kept == 0


def test_damage_in_the_input_is_met_before_any_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (40, 48, 64, 3), np.uint8)
    source = make_clip(tmp_path / "in.mp4", frames, rate=Fraction(4))
    content = bytearray(source.read_bytes())
    begin, end = (int(share * len(content)) for share in (0.6, 0.7))  # of the pictures: the index lies behind them
    content[begin:end] = rng.integers(0, 256, end - begin, np.uint8).tobytes()
    source.write_bytes(content)
    model = NearestUpscaler()
    with pytest.raises(CorruptFrameError):
        upscale(source, tmp_path / "o.mkv", upscaler=model, scale=1)
    assert model.calls == [] and [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    assert upscale(source, tmp_path / "o.mkv", upscaler=model, scale=1, on_corrupt="conceal").num_frames == 40


def test_a_job_that_is_broken_while_it_is_planned_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starvsr.jobs import planning

    monkeypatch.setattr(planning, "_SILENT", -1)
    monkeypatch.setattr(planning, "_REPORT_EVERY", -1)
    stages = []

    def look(report: Progress) -> None:
        stages.append((report.stage, report.num_planned, report.num_done))
        if report.num_planned == 30:
            raise Broken

    with pytest.raises(Broken):
        upscale(clip, tmp_path / "o.mp4", on_progress=look, **QUICK)
    assert stages[-30:] == [("planning", count, 0) for count in range(1, 31)]
    assert not list(tmp_path.iterdir())
