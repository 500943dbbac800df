"""Clips are found in files and folders and paired by name; what has no partner is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from starvsr.errors import InputError, InputNotFoundError, OptionError, UnreadableInputError
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.pairing import base_name, find_clips, pair_clips
from tests.evaluation.made_clips import moving, pictures


def clips(*names: str, folder: str = "r") -> list[ClipSource]:
    return [ClipSource(name, Path(folder, f"{name}.mp4")) for name in names]


def test_a_folder_of_videos_and_of_frame_folders_holds_a_clip_each(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.mp4").touch()
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "clip.v2", moving(2))
    assert [clip.name for clip in find_clips(tmp_path)] == ["b", "clip.v2"]


def test_numbered_images_are_one_clip_and_others_one_each(tmp_path: Path) -> None:
    numbered = pictures(tmp_path / "film", moving(3))
    assert [clip.name for clip in find_clips(numbered)] == ["film"]
    assert [clip.name for clip in find_clips(numbered / "%04d.png")] == ["frames"]
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("baby", "bird"):
        (numbered / "0000.png").rename(photos / f"{name}.png") if name == "baby" else (numbered / "0001.png").rename(
            photos / f"{name}.png"
        )
    assert [clip.name for clip in find_clips(photos)] == ["baby", "bird"]


def test_what_is_not_there_and_empty_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"gone: there is no such file"):
        find_clips(tmp_path / "gone")
    with pytest.raises(UnreadableInputError, match="neither videos nor images"):
        find_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("a_x4", "a"),
        ("a_x2.5", "a"),
        ("a_1080p", "a"),
        ("a_w640", "a"),
        ("a_640x480", "a"),
        ("a_x", "a_x"),
        ("x4", "x4"),
    ],
)
def test_marks_of_results_are_left_out(name: str, base: str) -> None:
    assert base_name(name) == base


def test_clips_are_paired_by_name_with_or_without_mark() -> None:
    trios = pair_clips(clips("b_x4", "a"), clips("a", "b", folder="g"), clips("b", "a", folder="l"))
    assert [(t.name, t.hq.name, t.gt and t.gt.name, t.lq and t.lq.name) for t in trios] == [
        ("b", "b_x4", "b", "b"),
        ("a", "a", "a", "a"),
    ]


def test_one_clip_on_each_side_needs_no_common_name() -> None:
    (trio,) = pair_clips(clips("out"), clips("sharp", folder="g"), None)
    assert (trio.name, trio.gt and trio.gt.name, trio.lq) == ("sharp", "sharp", None)


def test_clips_without_partner_are_listed_on_both_sides() -> None:
    with pytest.raises(InputError) as told:
        pair_clips(clips("a", "b", "c"), clips("a", "d", folder="g"), None)
    assert "b, c of the result have no partner in --reference and d of --reference has none in the result" in str(
        told.value
    )


def test_a_reference_is_not_taken_twice() -> None:
    with pytest.raises(InputError, match=r"both belong to g.a\.mp4"):
        pair_clips(clips("a", "a_x4"), clips("a", "b", folder="g"), None)


def test_a_clip_is_not_its_own_reference_or_input() -> None:
    with pytest.raises(OptionError, match="given as result and as --reference"):
        pair_clips(clips("a"), clips("a"), None)
    with pytest.raises(OptionError, match="given as result and as --lq"):
        pair_clips(clips("a"), None, clips("a"))
