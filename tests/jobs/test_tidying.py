"""What is left of a job: nothing, or what the next call removes."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from starvsr import upscale
from starvsr.errors import OutputExistsError, StarVsrError
from starvsr.jobs.folder import JobFolder
from tests.jobs.interrupting import QUICK, break_at, run_to_end, sha256_of


def test_a_kill_between_the_rename_and_the_tidying_up_is_no_failure(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starvsr.jobs.folder import JobFolder

    out = tmp_path / "o.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(JobFolder, "remove", lambda self, lock: True)
        upscale(clip, out, **QUICK)
    digest = sha256_of(out)
    assert (tmp_path / "o.mp4.job").exists()
    result = run_to_end(clip, out, **QUICK)
    assert (result.num_frames, sha256_of(out)) == (70, digest)
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


def test_nothing_finished_leaves_no_folder(clip: Path, tmp_path: Path) -> None:
    break_at(clip, tmp_path / "o.mp4", 1, **QUICK)
    assert not list(tmp_path.iterdir())
