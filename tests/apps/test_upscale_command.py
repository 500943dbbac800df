"""`upscale` as asked: what comes out, what it is called, what is written into it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from starvsr.apps.cli import main
from starvsr.video import VideoReader, probe
from tests.apps.commands import QUICK, leftovers


def test_upscale_keeps_frames_and_times(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "big.mp4"
    assert main(["upscale", str(clip), "-o", str(out), *QUICK]) == 0
    assert "big.mp4: 5 frames of 96x64" in capsys.readouterr().out
    with VideoReader(clip) as before, VideoReader(out) as after:
        times = [[f.pts * f.time_base for f in reader] for reader in (before, after)]
    assert times[0] == times[1]
    assert leftovers(tmp_path) == ["big.mp4"]


def test_provenance_is_written_into_the_file(clip: Path, tmp_path: Path) -> None:
    assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mkv"), "--scale", "2", *QUICK]) == 0
    tags = {key.lower(): value for key, value in probe(tmp_path / "o.mkv").metadata.items()}
    record = json.loads(tags["comment"])
    assert record["model"] == "bicubic"
    assert record["options"] == {"scale": 2.0}
    assert str(tmp_path) not in tags["comment"]


def test_output_names_come_from_the_input(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(clip.read_bytes())
    assert main(["upscale", str(source), "--scale", "2", *QUICK]) == 0
    assert (probe(tmp_path / "a_x2.mp4").width, probe(tmp_path / "a_x2.mp4").height) == (48, 32)


def test_compare_writes_picture_and_video(clip: Path, tmp_path: Path) -> None:
    assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mp4"), "--compare", *QUICK]) == 0
    assert leftovers(tmp_path) == ["o.mp4", "o_compare.mp4", "o_compare.png"]
    assert probe(tmp_path / "o_compare.mp4").width == 2 * 96
    assert probe(tmp_path / "o_compare.mp4").num_frames == 5


def test_dry_run_shows_the_plan_and_writes_nothing(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mp4"), "--dry-run", *QUICK]) == 0
    said = capsys.readouterr().out
    for word in ("frames", "encoding", "libx264", "segments", "memory", "disk", "time"):
        assert word in said
    assert not leftovers(tmp_path)


def test_same_options_same_bytes(clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        assert main(["upscale", str(clip), "-o", str(tmp_path / name), *QUICK]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_image_in_image_out(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (10, 7), (9, 80, 200)).save(tmp_path / "a.png")
    assert main(["upscale", str(tmp_path / "a.png"), *QUICK]) == 0
    with Image.open(tmp_path / "a_x4.png") as made:
        assert made.size == (40, 28)
        assert made.getpixel((20, 14)) == (9, 80, 200)


def test_folder_of_images_becomes_folder(tmp_path: Path) -> None:
    from PIL import Image

    frames = tmp_path / "shots"
    frames.mkdir()
    for index in range(3):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(frames / f"f{index}.png")
    assert main(["upscale", str(frames), *QUICK]) == 0
    assert len(list((tmp_path / "shots_x4").glob("*.png"))) == 3
