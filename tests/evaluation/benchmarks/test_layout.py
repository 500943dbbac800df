"""Data sets are found in the layouts in which they come; what is not one is told, with what was expected and found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from starvsr.errors import InputError, InputNotFoundError, OptionError, UnreadableInputError
from starvsr.evaluation.benchmarks.layout import find_data
from starvsr.evaluation.benchmarks.sets import BENCHMARKS, get_set
from tests.evaluation.benchmarks.made_sets import frames_of, set_of
from tests.evaluation.made_clips import film, moving

REDS4 = ("000", "011", "015", "020")
VID4 = ("calendar", "city", "foliage", "walk")


def numbers(count: int, first: int = 0) -> list[str]:
    return [f"{number:03d}" for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("name", "sides", "clips", "count", "lq", "is_synthetic"),
    [
        ("udm10", ("GT", "LQ"), numbers(10), 32, "LQ", False),
        ("udm10", ("GT", "BIx4"), numbers(10), 32, "heavy", True),
        ("reds30", ("val/val_sharp",), numbers(30), 100, "heavy", True),
        ("reds4", ("gt", "bicubic"), REDS4, 100, "bicubic", False),
        ("reds4", ("train_sharp", "train_sharp_bicubic/X4"), (*REDS4, "100"), 100, "train_sharp_bicubic/X4", False),
        ("spmcs", ("GT", "LQ"), numbers(30), 3, "LQ", False),
        ("youhq40", ("gt", "lq"), numbers(40), 2, "LQ", False),
        ("openvid30", ("GT",), numbers(30), 2, "heavy", True),
        ("videolq", (".",), numbers(50), 2, ".", False),
        ("mvsr4x", ("GT", "LQ"), numbers(15), 2, "LQ", False),
        ("realvsr", ("GT_test", "LQ_test"), numbers(50), 2, "LQ_test", False),
        ("vid4", ("GT", "BIx4", "BDx4"), VID4, 2, "BIx4", False),
        ("aigc30", ("LQ",), numbers(30), 2, "LQ", False),
        ("custom", ("GT",), ("a", "b"), 2, "heavy", True),
    ],
)  # fmt: skip
def test_each_layout_is_read(
    tmp_path: Path, name: str, sides: tuple[str, ...], clips: tuple[str, ...], count: int, lq: str, is_synthetic: bool
) -> None:
    found = find_data(get_set(name), set_of(tmp_path, sides, clips, count))
    expected = REDS4 if name == "reds4" else clips
    assert [clip.name for clip in found.clips] == list(expected)
    assert (found.lq, found.is_synthetic) == (lq, is_synthetic)
    for clip in found.clips:
        assert (clip.gt is not None) == get_set(name).has_gt
        assert (clip.lq is None) == is_synthetic
        for side in (clip.gt, clip.lq):
            assert side is None or side.path.name == clip.name
    if name == "udm10" and is_synthetic:
        assert "--lq BIx4" in found.notes[0]


def test_spmcs_is_also_read_with_both_versions_inside_the_clips(tmp_path: Path) -> None:
    for number in numbers(30):
        set_of(tmp_path / number, (".",), ("truth", "input4"))
    found = find_data(get_set("SPMCS"), tmp_path)
    assert [c.name for c in found.clips] == numbers(30)
    assert {(c.gt.path.name, c.lq.path.name) for c in found.clips if c.gt and c.lq} == {("truth", "input4")}


def test_videos_are_clips_too_and_marks_of_results_do_not_matter(tmp_path: Path) -> None:
    film(tmp_path / "GT-Video" / "a.mkv", moving(2))
    film(tmp_path / "GT-Video" / "b.mkv", moving(2))
    film(tmp_path / "LQ-Video" / "a.mkv", moving(2, 16, 24))
    film(tmp_path / "LQ-Video" / "b_x4.mkv", moving(2, 16, 24))
    found = find_data(get_set("custom"), tmp_path)
    assert [(c.gt and c.gt.path.name, c.lq and c.lq.path.name) for c in found.clips] == [
        ("a.mkv", "a.mkv"),
        ("b.mkv", "b_x4.mkv"),
    ]


def test_another_low_quality_version_is_asked_for_by_name(tmp_path: Path) -> None:
    set_of(tmp_path, ("GT", "LQ", "BDx4"), numbers(10), 32)
    udm10 = get_set("udm10")
    clip = find_data(udm10, tmp_path, lq="BDx4").clips[0]
    assert clip.lq is not None and clip.lq.path.parent.name == "BDx4"
    assert find_data(udm10, tmp_path, lq="light").is_synthetic
    with pytest.raises(OptionError, match=r"--lq poor: no folder .*BDx4/, GT/, LQ/.* bicubic, released, light"):
        find_data(udm10, tmp_path, lq="poor")
    with pytest.raises(OptionError, match="no ground truth to make low-quality clips of"):
        find_data(get_set("videolq"), tmp_path, lq="light")


def test_a_folder_of_the_degradations_name_does_not_change_what_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--lq heavy -o heavy` goes on as it began; ./heavy, or a folder in the data, is that folder."""
    set_of(tmp_path / "data", ("GT", "LQ"), ("a", "b"), 2)
    shutil.copytree(tmp_path / "data" / "LQ", tmp_path / "heavy")
    monkeypatch.chdir(tmp_path)
    custom = get_set("custom")
    assert find_data(custom, tmp_path / "data", lq="heavy").is_synthetic
    assert find_data(custom, tmp_path / "data", lq="./heavy").lq == "./heavy"
    shutil.copytree(tmp_path / "heavy", tmp_path / "data" / "heavy")
    assert not find_data(custom, tmp_path / "data", lq="heavy").is_synthetic


def test_clips_are_selected_by_name(tmp_path: Path) -> None:
    set_of(tmp_path, ("GT", "BIx4"), VID4)
    found = find_data(get_set("vid4"), tmp_path, clips=["walk", "city"])
    assert ([c.name for c in found.clips], found.num_clips) == (["walk", "city"], 4)
    with pytest.raises(OptionError, match="--clips: no clip town; there are calendar, city, foliage, walk"):
        find_data(get_set("vid4"), tmp_path, clips=["town"])


def test_a_wrong_folder_is_told_with_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"not laid out as Vid4: expected 4 clips in GT/.*; found notes.txt, photos/"):
        find_data(get_set("vid4"), tmp_path)
    with pytest.raises(InputError, match=r"not laid out as VideoLQ: expected 50 clips in LQ/, LQ-Video/.*found notes"):
        find_data(get_set("videolq"), tmp_path)
    with pytest.raises(
        InputNotFoundError, match=r"gone: there is no such file or folder; --data names where Vid4 lies"
    ):
        find_data(get_set("vid4"), tmp_path / "gone")
    with pytest.raises(InputError, match="Vid4 is read from a folder"):
        find_data(get_set("vid4"), tmp_path / "notes.txt")
    frames_of(tmp_path / "GT" / "a")
    with pytest.raises(InputError, match=r"no folder of low-quality clips: not laid out as MVSR4x"):
        find_data(get_set("mvsr4x"), tmp_path)


def test_a_set_that_is_not_whole_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    vid4 = set_of(tmp_path / "v", ("GT", "BIx4"), VID4[:3])
    with pytest.raises(InputError, match=r"Vid4 without walk \(found: calendar, city, foliage\); .*--allow-partial"):
        find_data(get_set("vid4"), vid4)
    assert len(find_data(get_set("vid4"), vid4, allow_partial=True).clips) == 3
    mvsr = set_of(tmp_path / "m", ("GT", "LQ"), numbers(14))
    with pytest.raises(InputError, match="MVSR4x has 15 clips, 14 are there"):
        find_data(get_set("mvsr4x"), mvsr)
    udm10 = set_of(tmp_path / "u", ("GT", "LQ"), numbers(10), 31)
    with pytest.raises(InputError, match="clips of UDM10 have 32 frames, 000 has 31"):
        find_data(get_set("udm10"), udm10)
    shutil.rmtree(vid4 / "BIx4" / "city")
    with pytest.raises(
        InputError, match=r"no low-quality clip for city of the ground truth \(found: calendar, foliage\)"
    ):
        find_data(get_set("vid4"), vid4, allow_partial=True)


def test_lists_name_clips_with_or_without_input(tmp_path: Path) -> None:
    for name in ("a", "b"):
        film(tmp_path / f"{name}.mkv", moving(2))
        film(tmp_path / "low" / f"{name}.mkv", moving(2, 16, 24))
    text, table = tmp_path / "list.txt", tmp_path / "list.csv"
    text.write_text("# mine\na.mkv\n\nb.mkv\n")
    table.write_text("name,gt,lq\nfirst,a.mkv,low/a.mkv\n,b.mkv,low/b.mkv\n")
    found = find_data(get_set("custom"), text)
    assert ([c.name for c in found.clips], found.lq) == (["a", "b"], "heavy")
    found = find_data(get_set("custom"), table)
    assert [(c.name, c.lq and c.lq.path) for c in found.clips] == [
        ("first", tmp_path / "low/a.mkv"),
        ("b", tmp_path / "low/b.mkv"),
    ]
    assert find_data(get_set("custom"), table, lq="light").is_synthetic
    with pytest.raises(InputError, match="OpenVid30 has 30 clips, 2 are there"):
        find_data(get_set("openvid30"), table)
    for content, what in (
        ("name,sharp\na,a.mkv\n", r"has no column gt \(found: name, sharp\)"),
        ("gt\nz.mkv\n", "names z.mkv, and there is no such clip"),
        ("gt\n", "names no clip"),
        ("gt,lq\na.mkv,low/a.mkv\nb.mkv,\n", "b without a low-quality clip"),
        ("gt\na.mkv\nlow/a.mkv\n", "two clips are called a"),
    ):
        table.write_text(content)
        with pytest.raises(InputError, match=what):
            find_data(get_set("custom"), table)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableInputError, match="cannot be read as a list"):
        find_data(get_set("custom"), table)


def test_sets_are_named_loosely_and_unknown_ones_refused() -> None:
    assert get_set("REDS-30") is BENCHMARKS["reds30"]
    with pytest.raises(OptionError, match="unknown benchmark 'udm12': did you mean udm10"):
        get_set("udm12")
    assert all(one.expected() for one in BENCHMARKS.values())


def test_frames_whose_names_are_no_sequence_are_still_one_clip(tmp_path: Path) -> None:
    for name in ("begin", "end"):
        (tmp_path / "GT" / "clip").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 32)).save(tmp_path / "GT" / "clip" / f"{name}.png")
    (clip,) = find_data(get_set("custom"), tmp_path).clips
    assert clip.gt is not None and sum(1 for _ in clip.gt) == 2
