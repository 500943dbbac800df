"""Images of different sizes as one film: refused by their headers, before a model works or a file is written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

import starvsr
from starvsr.apps.cli import main
from starvsr.errors import UnreadableInputError
from starvsr.video import probe

SIZES = ((24, 16), (24, 16), (16, 24), (20, 16))
TOLD = r"f_2\.{}: 16x24, but the first image is 24x16.*--images photos"


def folder_of(tmp_path: Path, suffix: str = "png", turned: bool = False) -> Path:
    """Images of `SIZES` as they are shown; ``turned`` stores upright ones on their side."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index, (width, height) in enumerate(SIZES):
        path, colour = folder / f"f_{index}.{suffix}", (90, 60, 30 + index)
        exif = Image.Exif()
        if turned and index in (1, 2):
            exif[0x0112] = 6
            width, height = height, width
        Image.new("RGB", (width, height), colour).save(path, exif=exif)
    return folder


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(("suffix", "turned"), [("png", False), ("jpg", True), ("webp", False)])
def test_an_image_of_another_size_is_named_before_the_job(tmp_path, suffix, turned, isolate):
    folder = folder_of(tmp_path, suffix, turned)
    for source in (folder, folder / f"f_%d.{suffix}"):
        assert probe(source).other_size == (2, 16, 24)
        with pytest.raises(UnreadableInputError, match=TOLD.format(suffix)):
            starvsr.prepare(source, tmp_path / "out.mkv", model="bicubic", isolate=isolate)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_dry_run_and_info_tell_of_it(tmp_path, capsys):
    folder = folder_of(tmp_path)
    assert main(["upscale", str(folder), "-o", str(tmp_path / "o.mkv"), "--model", "bicubic", "--dry-run"]) != 0
    assert "f_2.png: 16x24, but the first image is 24x16" in capsys.readouterr().err
    assert main(["info", str(folder)]) == 0
    assert "24x16, but f_2.png is 16x24" in capsys.readouterr().out


def test_images_after_the_chosen_part_do_not_count(tmp_path):
    folder = folder_of(tmp_path)
    options = {"model": "bicubic", "frame_rate": Fraction(4), "codec": "ffv1"}
    result = starvsr.upscale(folder, tmp_path / "out.mkv", duration=Fraction(1, 2), **options)
    assert (result.num_frames, result.width) == (2, 96)
    for values in ({"duration": Fraction(3, 4)}, {"start": Fraction(1, 4)}):
        with pytest.raises(UnreadableInputError, match=TOLD.format("png")):
            starvsr.prepare(folder, tmp_path / "more.mkv", **values, **options)


def test_damaged_images_are_left_to_the_reader(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "f_2.png").write_bytes(b"\x89PNG")
    (folder / "f_3.png").write_bytes((folder / "f_3.png").read_bytes()[:40])
    assert probe(folder).other_size is None
    result = starvsr.upscale(folder, tmp_path / "o.mkv", model="bicubic", codec="ffv1", on_corrupt="skip")
    assert result.num_frames == 2


def test_where_a_header_and_the_picture_differ_the_picture_counts(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    for index in (2, 3):
        Image.new("RGB", (24, 16)).save(folder / f"f_{index}.png")
    monkeypatch.setattr("starvsr.video.read.photo_sizes._shown_size", lambda file: (1, 1))
    assert probe(folder).other_size is None
