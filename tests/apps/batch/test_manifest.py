"""Which clips a manifest or a folder names, and what is wrong with one that names none."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from starvsr.apps.batch.clip_queue import ClipQueue
from starvsr.apps.batch.clips import Clip, clip_options, plain_options
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.manifest import read_clips
from starvsr.errors import InputError, InputNotFoundError, OptionError
from starvsr.families.options import UpscaleOptions


def clips_of(path: Path, **options: Any) -> list[Clip]:
    return list(read_clips(Location.of(path), UpscaleOptions(**options)))


def manifest(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "clips.jsonl"
    path.write_text("\n\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_lines_become_clips_with_options_of_their_own(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"input": "a.mp4"},
        {"input": "sub/b.flv", "scale": 2, "start": "1:05.5", "crf": None},
        {"input": "/elsewhere/c.mp4", "output": "c/out.mkv", "height": 720, "seed": 3},
        {"input": "s3://bucket/deep/d.mov"},
    )
    found = clips_of(path, model="bicubic", crf=20)
    assert [clip.input for clip in found] == [
        str(tmp_path / "a.mp4"),
        str(tmp_path / "sub/b.flv"),
        "/elsewhere/c.mp4",
        "s3://bucket/deep/d.mov",
    ]
    assert [clip.output for clip in found] == ["a_x4.mp4", "sub/b_x2.mkv", "c/out.mkv", "d_x4.mov"]
    assert found[0].options == {"model": "bicubic", "crf": 20}
    assert found[1].options == {"model": "bicubic", "crf": 20, "scale": 2.0, "start": "131/2"}
    assert UpscaleOptions(**found[1].options).start == Fraction(131, 2)
    assert len({clip.id for clip in found}) == 4
    assert clips_of(path, model="bicubic", crf=20)[0].id == found[0].id
    assert clips_of(path, model="bicubic", crf=21)[0].id != found[0].id


def test_a_parquet_file_is_read_as_lines_are(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs starvsr[parquet]")
    import pyarrow

    rows = {"input": ["a.mp4", "b.mp4"], "output": [None, "x/b.mp4"], "scale": [2, None]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "clips.parquet")
    found = clips_of(tmp_path / "clips.parquet")
    assert [(clip.output, clip.options) for clip in found] == [("a_x2.mp4", {"scale": 2.0}), ("x/b.mp4", {})]
    (tmp_path / "none.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no Parquet file"):
        clips_of(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 3: no JSON"),
        ([1], "line 3: not an object"),
        ({"output": "a.mp4"}, 'line 3: no "input"'),
        ({"input": "b.mp4", "scael": 2}, "line 3: unknown option 'scael'"),
        ({"input": "b.mp4", "scale": "many"}, "line 3: .*--scale"),
        ({"input": "b.mp4", "device": "cuda"}, "line 3: 'device' holds for the whole batch"),
        ({"input": "b.mp4", "output": "../b.mp4"}, "below the destination"),
        ({"input": "b.mp4", "output": "/b.mp4"}, "below the destination"),
        ({"input": "b.mp4", "output": "_batch/b.mp4"}, "is for records"),
        ({"input": "b.mp4", "output": "frames"}, "a batch writes files"),
    ],
)
def test_a_wrong_line_is_told_by_its_number(tmp_path: Path, row: Any, message: str) -> None:
    path = manifest(tmp_path, {"input": "a.mp4"}, row)
    with pytest.raises((InputError, OptionError), match=message):
        clips_of(path)


def test_a_folder_gives_its_videos_and_passes_over_what_is_not_for_it(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "sub/c.webm", "note.txt", "d.png", ".hidden.mp4", "out/_batch/x.mp4", "e.job/f.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [clip.output for clip in clips_of(tmp_path, scale=2)] == ["a_x2.mkv", "b_x2.mp4", "sub/c_x2.webm"]


def test_nothing_to_do_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such manifest or folder"):
        clips_of(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no clips"):
        clips_of(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no clips"):
        clips_of(tmp_path / "empty.jsonl")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="neither a manifest"):
        clips_of(tmp_path / "a.txt")


def test_two_clips_with_one_output_are_refused(tmp_path: Path) -> None:
    queue = ClipQueue()
    try:
        with pytest.raises(OptionError, match=r"a\.flv and .*a\.mkv would both become a_x4\.mkv"):
            queue.add(clips_of(manifest(tmp_path, {"input": "a.flv"}, {"input": "a.mkv"})))
    finally:
        queue.close()


def test_names_that_are_no_text_come_back_the_same() -> None:
    queue = ClipQueue()
    try:
        queue.add([Clip("/in/\udcff.mp4", "\udcff_x4.mp4")])
        assert queue.take()[0].clip == Clip("/in/\udcff.mp4", "\udcff_x4.mp4")
    finally:
        queue.close()


def test_a_size_of_a_clip_takes_the_place_of_the_command_s(tmp_path: Path) -> None:
    assert clip_options(UpscaleOptions(scale=2), {"height": 720}).target is not None
    assert plain_options(clip_options(UpscaleOptions(height=720), {"scale": 2})) == {"scale": 2.0}
