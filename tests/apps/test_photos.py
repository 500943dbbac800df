"""A folder of images: photos, each by itself under its own name, or one film."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from starvsr.apps.cli import main
from starvsr.video import probe
from tests.apps.commands import QUICK, leftovers


def _save(folder: Path, **sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for number, (name, size) in enumerate(sizes.items()):
        Image.new("RGB", size, (number * 40, 90, 30)).save(folder / f"{name}.png")
    return folder


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_photos_keep_names_sizes_depth_and_transparency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _save(tmp_path / "in", holiday=(12, 8), IMG_0001=(8, 12))
    Image.new("RGBA", (6, 6), (9, 8, 7, 100)).save(folder / "glass.png")
    Image.new("I;16", (6, 6), 30000).save(folder / "deep.png")
    Image.new("RGB", (6, 6), (200, 10, 10)).save(folder / "holiday.JPG", format="JPEG")
    Image.new("RGB", (6, 6)).save(folder / "50%d.png")
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "more").mkdir()
    out = tmp_path / "out"
    assert main(["upscale", str(folder), "-o", str(out), *QUICK]) == 0
    said = capsys.readouterr()
    assert "passed over 1 file (notes.txt), 1 folder (more), 1 hidden" in said.err
    assert "out: 6 photos" in said.out
    names = ["50%d.png", "IMG_0001.png", "deep.png", "glass.png", "holiday.JPG.png", "holiday.png.png"]
    assert _names(out) == sorted(names)
    sizes = {name: _opened(out / name).size for name in ("IMG_0001.png", "holiday.png.png")}
    assert sizes == {"IMG_0001.png": (32, 48), "holiday.png.png": (48, 32)}
    assert _opened(out / "glass.png").mode == "RGBA" and probe(out / "deep.png").bit_depth == 16
    assert leftovers(tmp_path) == ["in", "out"]


def test_a_numbered_sequence_of_one_size_is_a_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {f"f_{number}": (8, 8) for number in (1, 2, 9, 10, 12)}
    folder = _save(tmp_path / "in", **sizes)
    assert main(["upscale", str(folder), *QUICK]) == 0
    said = capsys.readouterr()
    assert "7 numbers are missing between 1 and 12 (3 to 8, 11)" in said.err and "5 frames" in said.out
    assert _names(tmp_path / "in_x4") == sorted(f"{name}.png" for name in sizes)
    assert main(["upscale", str(folder), "-o", str(tmp_path / "g_%03d.png"), "-q", *QUICK]) == 0
    assert [p.name for p in sorted(tmp_path.glob("g_*"))] == [f"g_{n:03d}.png" for n in (1, 2, 9, 10, 12)]
    colors = [_opened(tmp_path / f"g_{n:03d}.png").getpixel((16, 16))[0] for n in (1, 2, 9, 10, 12)]
    assert colors == [0, 40, 80, 120, 160]
    assert main(["upscale", str(folder), "-o", str(tmp_path / "p"), "--images", "photos", *QUICK]) == 0
    assert "5 photos" in capsys.readouterr().out


def test_names_of_part_of_a_film_are_those_of_its_images(tmp_path: Path) -> None:
    folder = _save(tmp_path / "in", **{f"f_{number}": (8, 8) for number in range(1, 6)})
    words = ["--frame-rate", "10", "--start", "0.2", "--duration", "0.2", "-q"]
    assert main(["upscale", str(folder), "-o", str(tmp_path / "out"), *words, *QUICK]) == 0
    assert _names(tmp_path / "out") == ["f_3.png", "f_4.png"]


def test_what_does_not_go_together_is_refused(tmp_path: Path, one_line) -> None:
    folder = _save(tmp_path / "in", a=(8, 8), b=(9, 9))
    for words, told in (
        (("-o", tmp_path / "o.mp4"), "--images photos"),
        (("-o", tmp_path / "o.mp4", "--images", "photos"), "photos become a folder"),
        (("-o", tmp_path / "o", "--images", "photos", "--start", "1"), "have no times"),
    ):
        assert told in one_line("upscale", folder, "-q", *words, *QUICK)[1]
    assert "no folder of images" in one_line("upscale", folder / "a.png", "--images", "photos", *QUICK)[1]
    assert leftovers(tmp_path) == ["in"]


def test_a_folder_goes_on_where_it_was_and_is_replaced_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_line
) -> None:
    folder = _save(tmp_path / "in", a=(8, 8), b=(9, 9), d=(7, 7))
    broken = folder / "c.png"
    broken.write_bytes((folder / "a.png").read_bytes()[:50])
    out = tmp_path / "out"
    words = ["upscale", str(folder), "-o", str(out), *QUICK]
    assert main(words) == 1
    assert "2 of 4 photos (50 %) are finished and kept" in capsys.readouterr().err
    assert leftovers(tmp_path) == ["in", "out.job"]
    assert main(["jobs", "list", str(tmp_path)]) == 0
    assert "out: 2 of 4 photos" in capsys.readouterr().out
    assert main(["jobs", "show", str(out)]) == 0
    made = (tmp_path / "out.job" / "photos" / "a.png").stat()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(folder / "b.png")  # changed meanwhile: made again
    Image.new("RGB", (5, 5), (1, 2, 3)).save(broken)
    assert main(["jobs", "resume", str(out), "-q"]) == 0
    assert "4 photos of up to 36x36, 1 of them from before" in capsys.readouterr().out
    assert (out / "a.png").stat().st_mtime_ns == made.st_mtime_ns
    assert _opened(out / "b.png").getpixel((9, 9)) == (1, 2, 3)
    assert "already there" in one_line(*words)[1]
    assert main([*words, "-y", "--scale", "2", "-q"]) == 0
    assert _opened(out / "b.png").size == (18, 18) and leftovers(tmp_path) == ["in", "out"]


def test_a_bad_photo_is_left_out_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _save(tmp_path / "in", b=(9, 9), d=(7, 7))
    (folder / "a.png").write_bytes(b"no picture")
    assert main(["upscale", str(folder), "-o", str(tmp_path / "out"), "--on-error", "skip", *QUICK]) == 0
    assert "a.png: left out" in capsys.readouterr().err
    assert _names(tmp_path / "out") == ["b.png", "d.png"]


def test_the_plan_of_a_folder_of_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _save(tmp_path / "in", a=(8, 8), b=(9, 9))
    assert main(["upscale", str(folder), "--dry-run", *QUICK]) == 0
    assert "2 of" in capsys.readouterr().out and leftovers(tmp_path) == ["in"]
