"""Interrupted and gone on with: the same bytes as without, and no finished part made twice."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from starvsr import upscale
from starvsr.errors import JobError, OutputExistsError, StarVsrError
from starvsr.pipelines.jobs.folder import JobFolder
from starvsr.pipelines.jobs.journal import read_journal
from starvsr.pipelines.jobs.lock import JobLock
from starvsr.pipelines.progress import Progress, UpscaleResult
from starvsr.video import VideoReader
from tests.pipelines.doubles import DriftingUpscaler, NearestUpscaler
from tests.video.clips import packets_of


class Broken(Exception):
    """Stands for whatever ends a process that can still tidy up."""


def _breaker(frame: int) -> Callable[[Progress], None]:
    def look(report: Progress) -> None:
        if report.stage == "upscaling" and report.num_done >= frame:
            raise Broken

    return look


def _digest(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    content = b"".join(file.name.encode() + file.read_bytes() for file in sorted(path.iterdir()))
    return hashlib.sha256(content).hexdigest()


def _records(out: Path, kind: str) -> list[dict]:
    journal = out.with_name(out.name + ".job") / "journal"
    return [record for record in read_journal(journal)[0] if record["kind"] == kind]


def _break_at(clip: Path, out: Path, frame: int, **options) -> None:
    with pytest.raises(Broken):
        upscale(clip, out, on_progress=_breaker(frame), **options)


def _run(clip: Path, out: Path, **options) -> UpscaleResult:
    result = upscale(clip, out, **options)
    assert not out.with_name(out.name + ".job").exists()
    return result


QUICK = {"model": "bicubic", "scale": 2, "segment": 4}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("o.mp4", {}),
        ("o.mkv", {"codec": "hevc", "preset": "ultrafast", "scale": 4}),
        ("o.webm", {"codec": "vp9", "preset": "8"}),
        ("o.mkv", {"codec": "av1", "preset": "12", "scale": 4}),
        ("o.mov", {"codec": "prores"}),
        ("o.mkv", {"codec": "ffv1"}),
        ("o", {}),
    ],
)
def test_interrupted_runs_give_the_bytes_of_an_undisturbed_one(
    name: str, options: dict, clip: Path, tmp_path: Path
) -> None:
    options = {**QUICK, **options}
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    whole, broken = tmp_path / "whole" / name, tmp_path / "broken" / name
    assert _run(clip, whole, **options).num_frames == 70
    for frame in (20, 69):
        _break_at(clip, broken, frame, **options)
        assert not broken.exists()
    result = _run(clip, broken, **options)
    assert result.num_kept >= 56 and result.num_frames == 70
    assert _digest(broken) == _digest(whole)
    assert [p.name for p in broken.parent.iterdir()] == [name]


def test_the_joined_video_has_exact_times_sound_and_keyframes(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    upscale(clip, out, **QUICK)
    with VideoReader(clip) as before, VideoReader(out) as after:
        times = [[(f.pts * f.time_base, f.duration * f.time_base) for f in reader] for reader in (before, after)]
    assert times[0] == times[1] and len(times[0]) == 70
    assert [data for _, data in packets_of(clip, "audio")[0]] == [data for _, data in packets_of(out, "audio")[0]]


@pytest.mark.parametrize("cuts", [{"segment": 4, "overlap": 2, "crossfade": 2}, {"segment": 12, "overlap": 4}])
def test_context_and_cross_fades_survive_an_interruption(cuts: dict, clip: Path, tmp_path: Path) -> None:
    options = {"codec": "ffv1", "scale": 1, **cuts}
    upscale(clip, tmp_path / "whole.mkv", upscaler=DriftingUpscaler(), **options)
    for frame in (12, 31, 60):
        _break_at(clip, tmp_path / "broken.mkv", frame, upscaler=DriftingUpscaler(), **options)
    assert upscale(clip, tmp_path / "broken.mkv", upscaler=DriftingUpscaler(), **options).num_kept > 40
    assert _digest_of_pictures(tmp_path / "broken.mkv") == _digest_of_pictures(tmp_path / "whole.mkv")


def _digest_of_pictures(path: Path) -> list[bytes]:
    with VideoReader(path) as reader:
        return [frame.pixels.tobytes() for frame in reader]


def test_a_finished_part_is_never_made_again(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    seen: list[int] = []
    for frame in (25, 50, 10_000):
        model = NearestUpscaler()
        try:
            upscale(clip, out, upscaler=model, scale=1, segment=4, overlap=0, on_progress=_breaker(frame))
        except Broken:
            kept = [record["stop"] for record in _records(out, "part")]
            assert kept and kept[-1] > frame - 13  # at most the part that was open is lost
        seen.append(sum(shape[2] for shape, *_ in model.calls))
    assert seen[1] <= 70 - kept[0] and sum(seen) <= 70 + 2 * (8 + 8)  # a part, and the segments read ahead of it


@pytest.mark.parametrize(("which", "how"), [(0, "flip"), (3, "cut"), (5, "gone"), (0, "line"), (4, "line")])
def test_damage_is_found_and_that_part_alone_made_again(which: int, how: str, clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out = tmp_path / "o.mp4"
    _break_at(clip, out, 60, **QUICK)
    folder = tmp_path / "o.mp4.job"
    num_parts = len(_records(out, "part"))
    assert num_parts > 5
    _spoil(folder, which, how)
    _break_at(clip, out, 64, **QUICK)
    if how != "line":
        assert [record["index"] for record in _records(out, "lost")] == [which]
    assert _records(out, "run")[-1]["kept"] == num_parts - 1
    assert len(_records(out, "part")) >= num_parts
    result = _run(clip, out, **QUICK)
    assert _digest(out) == _digest(tmp_path / "whole.mp4")
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
    assert _digest(out) == _digest(tmp_path / "whole.mp4")


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
    _break_at(clip, out, 40, **QUICK)
    if said is None:
        assert _run(clip, out, **{**QUICK, **changed}).num_kept > 0
        return
    with pytest.raises(JobError, match="--restart") as caught:
        upscale(clip, out, **{**QUICK, **changed})
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert _records(out, "part")  # the job is still there
    assert _run(clip, out, **{**QUICK, **changed}, restart=True).num_kept == 0


def test_another_input_is_refused_and_a_moved_one_is_not(clip: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "o.mp4", tmp_path / "in.mkv"
    content = clip.read_bytes()
    source.write_bytes(content)
    _break_at(source, out, 40, **QUICK)
    source.write_bytes(content[:-9] + bytes(9))
    with pytest.raises(JobError, match="same size, other content"):
        upscale(source, out, **QUICK)
    (tmp_path / "moved.mkv").write_bytes(content)
    assert _run(tmp_path / "moved.mkv", out, **QUICK).num_kept > 0


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
    assert _run(source, out, **QUICK).num_kept >= 16
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    assert _digest(out) == _digest(tmp_path / "whole.mp4")


def test_two_processes_on_one_job_are_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    _break_at(clip, out, 40, **QUICK)
    lock = JobLock(tmp_path / "o.mp4.job" / "lock")
    try:
        with pytest.raises(JobError, match="another process"):
            upscale(clip, out, **QUICK)
        assert _records(out, "part")
    finally:
        lock.release()
    assert _run(clip, out, **QUICK).num_kept > 0


@pytest.mark.parametrize("frame", [1, 29, 52])
def test_running_out_of_memory_in_any_segment_loses_one_part_at_most(frame: int, clip: Path, tmp_path: Path) -> None:
    class Hungry(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):
            if arguments["first_frame"] >= frame:
                raise MemoryError
            return super().upscale_clip(lq, **arguments)

    options = {"scale": 1, "segment": 4, "overlap": 0}
    out = tmp_path / "o.mp4"
    with pytest.raises(StarVsrError, match="out of memory"):
        upscale(clip, out, upscaler=Hungry(), **options)
    kept = _run(clip, out, upscaler=NearestUpscaler(), **options).num_kept
    assert kept >= frame - 12
    upscale(clip, tmp_path / "whole.mp4", upscaler=NearestUpscaler(), **options)
    assert _digest(out) == _digest(tmp_path / "whole.mp4")


def test_a_kill_between_the_rename_and_the_tidying_up_is_no_failure(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starvsr.pipelines.jobs.folder import JobFolder

    out = tmp_path / "o.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(JobFolder, "remove", lambda self, lock: True)
        upscale(clip, out, **QUICK)
    digest = _digest(out)
    assert (tmp_path / "o.mp4.job").exists()
    result = _run(clip, out, **QUICK)
    assert (result.num_frames, _digest(out)) == (70, digest)
    with pytest.raises(StarVsrError, match="already there"):
        upscale(clip, out, **QUICK)


@pytest.mark.parametrize("gone", [("lock",), ("lock", "journal")])
def test_a_removal_cut_short_leaves_nothing_behind_the_next_time(
    gone: tuple[str, ...], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(JobFolder, "remove", lambda self, lock: True)
        upscale(clip, out, **QUICK)
    folder = tmp_path / "out.mp4.job"
    for path in folder.iterdir():
        if path.name in gone or path.name not in ("lock", "journal"):
            path.unlink()
    if "journal" in gone:
        with pytest.raises(OutputExistsError):
            upscale(clip, out, **QUICK)
    else:
        upscale(clip, out, **QUICK)
    assert [path.name for path in tmp_path.iterdir() if path != clip] == ["out.mp4"]


@pytest.mark.parametrize("name", ["lock", "plan.json", "journal"])
def test_a_file_that_cannot_be_removed_is_told_and_goes_with_the_next_call(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, unlink = tmp_path / "out.mp4", Path.unlink

    def refuse(path: Path, *words: Any, **named: Any) -> None:
        if path.name == name:
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, *words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        result = upscale(clip, out, **QUICK)
    assert any("out.mp4.job could not be removed" in note for note in result.notes)
    assert upscale(clip, out, **QUICK).num_kept == 0
    assert [path.name for path in tmp_path.iterdir() if path != clip] == ["out.mp4"]


def test_a_folder_that_is_no_job_is_left_alone(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "o.mp4.job"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(JobError, match="no job of starvsr"):
        upscale(clip, tmp_path / "o.mp4", **QUICK, restart=True)
    assert (folder / "diary.txt").read_text() == "mine"


def test_a_spoiled_plan_is_written_anew_from_the_same_command(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    _break_at(clip, out, 40, **QUICK)
    plan = tmp_path / "o.mp4.job" / "plan.json"
    plan.write_text(plan.read_text().replace('"segment": 4', '"segment": 5'))
    with pytest.raises(JobError, match="damaged"):
        upscale(clip, out, **{**QUICK, "segment": 5})
    assert _run(clip, out, **QUICK).num_kept > 0


def test_the_plan_can_be_read(clip: Path, tmp_path: Path) -> None:
    _break_at(clip, tmp_path / "o.mp4", 40, **QUICK)
    plan = json.loads((tmp_path / "o.mp4.job" / "plan.json").read_text())
    assert plan["input"]["bytes"] == clip.stat().st_size
    assert plan["options"] == {"model": "bicubic", "scale": 2.0, "segment": 4}
    assert plan["part_frames"] == 8 and plan["size"] == [64, 48]
    assert {"av", "torch", "starvsr", "libavcodec"} <= set(plan["versions"])


def test_nothing_finished_leaves_no_folder(clip: Path, tmp_path: Path) -> None:
    _break_at(clip, tmp_path / "o.mp4", 1, **QUICK)
    assert not list(tmp_path.iterdir())
