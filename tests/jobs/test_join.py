"""Parts are given up while they are joined: little disk, and nothing lost when that is interrupted anywhere."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from starvsr import upscale
from starvsr.engine.progress import Progress
from starvsr.errors import StarVsrError
from starvsr.jobs.joiner import Join
from starvsr.jobs.journal import read_journal
from starvsr.jobs.state import JobState
from starvsr.video import VideoReader
from starvsr.video.parts.join_file import JoinFile, MovedPart
from tests.video.clips import packets_of

QUICK = {"model": "bicubic", "scale": 4, "segment": 4}
KINDS = [
    ("o.mp4", {"scale": 2}),
    ("o.mp4", {"codec": "hevc", "preset": "ultrafast"}),
    ("o.mkv", {"codec": "h264", "scale": 2}),
    ("o.mkv", {"codec": "av1", "preset": "12"}),
    ("o.mp4", {"codec": "av1", "preset": "12"}),
    ("o.webm", {"codec": "vp9", "preset": "8"}),
    ("o.mov", {"codec": "prores", "scale": 2, "missing_streams": "convert"}),
    ("o.mkv", {"codec": "prores", "scale": 2}),
    ("o.mkv", {"codec": "ffv1", "scale": 2}),
    ("o", {"scale": 2}),
]


class Broken(Exception):
    """Stands for whatever ends a process that can still tidy up."""


def _digest(path: Path) -> str:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()


def _state(out: Path) -> JobState:
    return JobState(read_journal(out.with_name(f"{out.name}.job") / "journal")[0])


def _size(folder: Path) -> int:
    """Bytes that files take on the disk: holes take none."""
    return sum(getattr(f.stat(), "st_blocks", 0) * 512 or f.stat().st_size for f in folder.rglob("*") if f.is_file())


def _after_moving(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call ``act`` with the number of parts that were given up so far, after each of them."""
    give_up, count = Join._give_up, [0]

    def wrapped(self: Join, *arguments) -> None:
        give_up(self, *arguments)
        count[0] += 1
        act(count[0])

    monkeypatch.setattr(Join, "_give_up", wrapped)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_an_interrupted_join_goes_on_and_gives_the_same_bytes(
    name: str, options: dict, clip: Path, tmp_path: Path
) -> None:
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    whole, out = tmp_path / "whole" / name, tmp_path / "broken" / name
    options = {**QUICK, **options}
    upscale(clip, whole, **options)
    for stop in (1, 3, 2):  # the last time, two of those that are left
        with pytest.MonkeyPatch.context() as patch:
            _after_moving(patch, _break_when(stop))
            with pytest.raises(Broken):
                upscale(clip, out, **options)
        state = _state(out)
        gone = [i for i in state.parts if not (out.with_name(f"{name}.job") / f"part_{i:06}").exists()]
        assert gone == sorted(state.moved)
    assert gone == list(range(6)) and len(state.parts) > 7
    result = upscale(clip, out, **options)
    assert (result.num_kept, result.num_frames) == (70, 70)
    assert _digest(out) == _digest(whole)
    assert os.listdir(out.parent) == [name]


def _break_when(stop: int) -> Callable[[int], None]:
    def act(count: int) -> None:
        if count == stop:
            raise Broken

    return act


@pytest.mark.parametrize(("name", "options"), [KINDS[i] for i in (0, 2, 7, 9)])
def test_a_job_takes_no_more_disk_than_its_output_and_two_parts(
    name: str, options: dict, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / name
    seen: list[int] = []
    parts: list[int] = []
    books: list[int] = []
    folder = tmp_path / f"{name}.job"

    def look(_count: int) -> None:
        seen.append(_size(folder))

    _after_moving(monkeypatch, look)
    wrapped = Join._give_up

    def give_up(self: Join, *arguments) -> None:
        look(0)
        parts[:] = [p.facts.size for p in self._state.in_order]
        books[:] = [_size_of(folder / file) for file in ("journal", "plan.json", "lock")]
        wrapped(self, *arguments)

    monkeypatch.setattr(Join, "_give_up", give_up)
    upscale(clip, out, **{**QUICK, "crf": None if name != "o.mp4" else 1, **options})
    assert len(seen) > 12
    block = 4096  # what the system gives at least; parts of real videos are megabytes
    taken = _size(out) if out.is_dir() else out.stat().st_size
    assert max(seen) <= taken + 2 * max(parts) + sum(books) + block * (len(parts) + 3)


def _size_of(file: Path) -> int:
    return getattr(file.stat(), "st_blocks", 0) * 512 or file.stat().st_size


@pytest.mark.parametrize("call", range(0, 60, 7))
def test_a_full_disk_while_parts_are_joined_costs_nothing(
    call: int, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out = tmp_path / "o.mp4"
    write, count = JoinFile._write, [0]

    def full(self: JoinFile, data: bytes) -> None:
        count[0] += 1
        if count[0] > call:
            raise OSError(28, "No space left on device")
        write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(JoinFile, "_write", full)
        with pytest.raises(StarVsrError, match="disk is full"):
            upscale(clip, out, **QUICK)
    assert not out.exists() and _state(out).num_frames == 70
    assert upscale(clip, out, **QUICK).num_kept == 70
    assert _digest_of(out) == _digest_of(tmp_path / "whole.mp4")


def test_bytes_that_are_not_of_parts_are_mended_by_the_next_run(clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out, joined = tmp_path / "o.mp4", tmp_path / "o.mp4.job" / "joined.mp4"
    with pytest.MonkeyPatch.context() as patch:
        _after_moving(patch, _break_when(4))
        with pytest.raises(Broken):
            upscale(clip, out, **QUICK)
    content = bytearray(joined.read_bytes())
    for place in (0, 40, len(content) - 3):  # head, room for the index, what was on its way
        content[place] ^= 1
    joined.write_bytes(content + b"more" * 10_000)
    assert upscale(clip, out, **QUICK).num_kept == 70
    assert _digest_of(out) == _digest_of(tmp_path / "whole.mp4")


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_another_text_in_the_output_moves_its_packets_and_costs_no_part(name: str, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    out, options = tmp_path / name, {**QUICK, "scale": 2}
    with pytest.MonkeyPatch.context() as patch:
        _after_moving(patch, _break_when(4))
        with pytest.raises(Broken):
            upscale(clip, out, **options)
    options["memory"] = 10**12  # changes no frame, but is told in the output's comment
    upscale(clip, tmp_path / "whole" / name, **options)
    assert upscale(clip, out, **options).num_kept == 70
    assert _digest_of(out) == _digest_of(tmp_path / "whole" / name)


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("where", ["joined", "part", "gone"])
def test_damage_in_a_half_joined_job_costs_what_is_damaged(where: str, clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out = tmp_path / "o.mp4"
    folder = tmp_path / "o.mp4.job"
    with pytest.MonkeyPatch.context() as patch:
        _after_moving(patch, _break_when(4))
        with pytest.raises(Broken):
            upscale(clip, out, **QUICK)
    num_parts = len(_state(out).parts)
    file = folder / "part_000006" if where == "part" else folder / "joined.mp4"
    if where == "gone":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        inside = len(content) // 2 if where == "part" else MovedPart(file, _state(out).moved[2], file).stop - 9
        content[inside] ^= 1
        file.write_bytes(content)

    class Seen(Exception):
        pass

    def look(report: Progress) -> None:
        raise Seen

    with pytest.raises(Seen):
        upscale(clip, out, on_progress=look, **QUICK)
    state = _state(out)
    assert (len(state.moved), state.moov_bytes) == (0, None)
    assert len(state.parts) == num_parts - (4 if where == "gone" else 1)
    assert all((folder / f"part_{index:06}").exists() for index in state.parts)
    assert not (folder / "joined.mp4").exists()
    upscale(clip, out, **QUICK)
    assert _digest_of(out) == _digest_of(tmp_path / "whole.mp4")


def test_a_spoiled_line_of_the_journal_of_a_half_joined_job_costs_what_it_says(clip: Path, tmp_path: Path) -> None:
    """A line of each kind, and of parts one that is joined already and one that is not."""
    upscale(clip, tmp_path / "whole.mp4", **QUICK)
    out = tmp_path / "o.mp4"
    with pytest.MonkeyPatch.context() as patch:
        _after_moving(patch, _break_when(4))
        with pytest.raises(Broken):
            upscale(clip, out, **QUICK)
    folder = tmp_path / "o.mp4.job"
    num_parts = len(_state(out).parts)
    shutil.copytree(folder, tmp_path / "kept")
    lines = (folder / "journal").read_bytes().splitlines(keepends=True)
    records = read_journal(folder / "journal")[0]
    assert len(records) == len(lines)
    chosen = {(record["kind"], record.get("index", 0) >= 4): number for number, record in enumerate(records)}
    assert {("part", False), ("part", True), ("moved", False), ("join", False), ("end", False)} <= chosen.keys()
    for kind, number in chosen.items():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", folder)
        spoiled = bytearray(lines[number])
        spoiled[len(spoiled) // 2] ^= 1
        (folder / "journal").write_bytes(b"".join([*lines[:number], bytes(spoiled), *lines[number + 1 :]]))
        result = upscale(clip, out, overwrite=True, **QUICK)
        assert _digest_of(out) == _digest_of(tmp_path / "whole.mp4"), kind
        assert result.num_frames == 70 and result.num_kept >= 70 - 2 * (70 // num_parts + 4), kind


def test_the_index_lies_in_front_and_sound_is_whole(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    upscale(clip, out, **QUICK)
    content = out.read_bytes()
    assert content.find(b"moov") < content.find(b"mdat") < 20_000
    with VideoReader(out) as reader:
        assert sum(1 for _ in reader) == 70
    assert [data for _, data in packets_of(clip, "audio")[0]] == [data for _, data in packets_of(out, "audio")[0]]
