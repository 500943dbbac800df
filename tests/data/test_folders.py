from __future__ import annotations

from pathlib import Path

from starvsr.data.folders import list_clips, passed_over
from starvsr.video.suffixes import VIDEO_SUFFIXES


def test_all_kinds_of_videos_are_taken_and_the_rest_is_told(tmp_path: Path) -> None:
    taken = ["a.mp4", "b.mpg", "c.WMV", "d.ts", "e.VOB"]
    for name in (*taken, "a.txt", "notes.doc", "lists.csv", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.mp4").write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.PNG").write_bytes(b"x")
    clips = list_clips(tmp_path)
    assert [clip.name for clip in clips] == [*taken, "frames"]
    (note,) = passed_over(tmp_path, clips)
    assert note.endswith("passed over 1 file (notes.doc), 2 folders (folder.mp4, sub)")
    assert passed_over(tmp_path, [*clips, tmp_path / "notes.doc", tmp_path / "sub", tmp_path / "folder.mp4"]) == []
    assert passed_over(None, []) == []
    assert {".wmv", ".mpg", ".ts", ".vob", ".mts", ".y4m"} <= VIDEO_SUFFIXES
