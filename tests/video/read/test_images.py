from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from starvsr.errors import CorruptFrameError, InputNotFoundError, OptionError, OutputExistsError, UnreadableInputError
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from tests.video.clips import make_clip, moving_bars


def save_images(folder: Path, frames: np.ndarray, pattern: str = "f_{}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / pattern.format(number))
    return folder


def read(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([frame.pixels for frame in reader])


def test_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    frames = moving_bars(11)
    folder = save_images(tmp_path / "in", frames)
    (folder / "notes.txt").write_text("not an image")
    info = probe(folder, frame_rate=Fraction(30))
    assert (info.num_frames, info.frame_rate, info.duration) == (11, Fraction(30), Fraction(11, 30))
    assert np.array_equal(read(folder), frames)


def test_numbered_pattern_is_read_and_gaps_are_noted(tmp_path: Path) -> None:
    frames = moving_bars(5)
    folder = save_images(tmp_path / "in", frames, "f_{:04d}.png")
    (folder / "f_0003.png").unlink()
    reader = VideoReader(folder / "f_%04d.png")
    assert np.array_equal(np.stack([f.pixels for f in reader]), frames[[0, 1, 3, 4]])
    assert "1 number is missing between 1 and 5 (3)" in reader.notes[0]


def test_single_image_and_its_exif_turn(tmp_path: Path) -> None:
    frame = moving_bars(1)[0]
    image = Image.fromarray(frame)
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0)
    info = probe(tmp_path / "a.jpg")
    assert (info.kind, info.width, info.height, info.num_frames) == ("image", 48, 64, 1)
    upright = np.rot90(frame, -1)
    assert np.abs(read(tmp_path / "a.jpg")[0].astype(int) - upright).mean() < 3


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "in", moving_bars(2))
    Image.fromarray(moving_bars(1, 20, 20)[0]).save(folder / "f_9.png")
    with pytest.raises(UnreadableInputError, match=r"f_9\.png: 20x20, but the first image is 64x48"):
        read(folder)


@pytest.mark.parametrize(("mode", "count"), [("skip", 2), ("conceal", 3)])
def test_damaged_image(tmp_path: Path, mode: str, count: int) -> None:
    folder = save_images(tmp_path / "in", moving_bars(3))
    (folder / "f_2.png").write_bytes((folder / "f_2.png").read_bytes()[:60])
    with pytest.raises(CorruptFrameError, match=r"f_2\.png"):
        read(folder)
    with VideoReader(folder, on_corrupt=mode) as reader:
        assert len(list(reader)) == count
        assert any("f_2.png" in note for note in reader.notes)


def test_empty_folder_and_pattern_without_files(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match="no images"):
        probe(tmp_path)
    with pytest.raises(InputNotFoundError, match="no file matches"):
        probe(tmp_path / "f_%05d.png")
    with pytest.raises(InputNotFoundError, match="no such folder"):
        probe(tmp_path / "nowhere" / "f_%05d.png")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 10])
def test_png_folder_keeps_every_bit(tmp_path: Path, channels: int, bits: int) -> None:
    frames = moving_bars(3, channels=channels)
    if bits > 8:
        frames = frames.astype(np.uint16) * 257 + 13
    out = tmp_path / "out"
    with VideoWriter(out, source=None, width=64, height=48, bit_depth=bits, alpha=channels == 4) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index, 1)
        assert not out.exists()
    assert sorted(p.name for p in out.iterdir()) == ["frame_00001.png", "frame_00002.png", "frame_00003.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    back = read(out)
    assert back.dtype == frames.dtype
    assert np.array_equal(back, frames)


def test_png_folder_of_a_video_says_what_it_loses(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", audio=["aac"])
    with VideoReader(path) as reader, VideoWriter(tmp_path / "out", source=reader.info, width=64, height=48) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.pts, frame.duration)
    assert any("no sound" in note for note in writer.notes)


def test_pattern_and_single_image_outputs(tmp_path: Path) -> None:
    frame = moving_bars(1)[0]
    for name in ("one.png", "one.jpg"):
        with VideoWriter(tmp_path / name, source=None, width=64, height=48) as writer:
            writer.write(frame, 0, 1)
        assert np.abs(read(tmp_path / name)[0].astype(int) - frame).max() <= (0 if name.endswith("png") else 12)
    with VideoWriter(tmp_path / "seq" / "x_%03d.png", source=None, width=64, height=48) as writer:
        writer.write(frame, 0, 1)
    assert (tmp_path / "seq" / "x_001.png").exists()
    with (
        pytest.raises(OptionError, match="holds one image"),
        VideoWriter(tmp_path / "two.png", source=None, width=64, height=48) as writer,
    ):
        writer.write(frame, 0, 1)
        writer.write(frame, 1, 1)
    assert not (tmp_path / "two.png").exists()


def test_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExistsError, match="holds other files"):
        VideoWriter(out, source=None, width=64, height=48, overwrite=True)
    assert (out / "thesis.tex").read_text() == "years of work"


def test_folder_of_images_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = save_images(tmp_path / "out", moving_bars(4))
    with pytest.raises(OutputExistsError):
        VideoWriter(out, source=None, width=64, height=48)
    with VideoWriter(out, source=None, width=64, height=48, overwrite=True) as writer:
        writer.write(moving_bars(1)[0], 0, 1)
    assert [p.name for p in out.iterdir()] == ["frame_00001.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_alpha_into_jpeg_is_refused_or_dropped(tmp_path: Path) -> None:
    frame = moving_bars(1, channels=4)[0]
    with pytest.raises(OptionError, match="no transparency"):
        VideoWriter(tmp_path / "a.jpg", source=None, width=64, height=48, alpha=True)
    with VideoWriter(
        tmp_path / "a.jpg", source=None, width=64, height=48, alpha=True, options=EncodeOptions(alpha="drop")
    ) as writer:
        writer.write(frame, 0, 1)
    assert read(tmp_path / "a.jpg").shape == (1, 48, 64, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_and_mirrored_as_exif_says(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12] = (255, 0, 0)
    pixels[8:, :12] = (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "photo.png"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    for source in (path, path.parent):
        with VideoReader(source) as reader:
            (frame,) = list(reader)
        np.testing.assert_array_equal(frame.pixels, upright)
