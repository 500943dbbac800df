"""What somebody types first: no arguments, -h, IN OUT without -o, new folders, dashes, addresses, pipes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click
import pytest

from starvsr.apps.cli import cli, main
from tests.apps.commands import QUICK, leftovers


def _commands(group: click.Group, before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = [(before, group)]
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        found += (
            _commands(command, (*before, name)) if isinstance(command, click.Group) else [((*before, name), command)]
        )
    return found


def test_every_command_shows_examples_on_lines_and_groups_show_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, command in _commands(cli):
        assert main([*words, "-h"]) == 0
        shown = capsys.readouterr().out
        assert "\\b" not in shown
        examples = shown.split("Examples:\n")[1].splitlines()
        assert any(line.strip().startswith("starvsr ") and line.startswith("  ") for line in examples), words
        if isinstance(command, click.Group):
            assert main([*words]) == 0
            assert capsys.readouterr().out == shown


def test_in_out_without_o_is_refused_before_the_first_begins(clip: Path, tmp_path: Path, one_line) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(clip.read_bytes())
    code, said = one_line("upscale", source, tmp_path / "result.mp4", *QUICK)
    assert code == 1 and f"did you mean -o {tmp_path / 'result.mp4'}?" in said
    assert leftovers(tmp_path) == ["a.mp4"]
    code, said = one_line("upscale", tmp_path / "wrong.mp4", source, *QUICK)
    assert code == 1 and "wrong.mp4" in said and "did you mean" not in said


def test_folders_named_as_outputs_are_made_and_go_again_after_a_failure(clip: Path, tmp_path: Path, one_line) -> None:
    new = tmp_path / "a" / "b"
    assert main(["upscale", str(clip), "-o", f"{new}/", "-q", *QUICK]) == 0
    assert leftovers(new) == ["clip_x4.mp4"]
    other = tmp_path / "other"
    assert one_line("upscale", clip, "-o", f"{other}/", "-q", "--frame-rate", "25", *QUICK)[0] == 1
    assert main(["upscale", str(clip), "-o", f"{other}/", "--dry-run", *QUICK]) == 0
    assert not other.exists()
    code, said = one_line("upscale", clip, clip, "-o", tmp_path / "one.mp4", *QUICK)
    assert code == 1 and "give a folder (one/)" in said


def test_several_outputs_are_looked_at_before_the_first_begins(clip: Path, tmp_path: Path, one_line) -> None:
    second = tmp_path / "second.mp4"
    second.write_bytes(clip.read_bytes())
    (tmp_path / "second_x4.mp4").write_bytes(b"precious")
    assert "already there" in one_line("upscale", clip, second, "-o", tmp_path, *QUICK)[1]
    assert leftovers(tmp_path) == ["second.mp4", "second_x4.mp4"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("https://example.org/a.mp4", "-o", "x.mp4"), "addresses are not opened: download it first"),
        (("rtsp://camera/1",), "addresses are not opened"),
        (("file:///tmp/a.mp4",), "without file://"),
        (("{clip}", "-o", "s3://bucket/a.mp4"), "addresses are not opened"),
        (("{clip}", "-o", "/dev/null"), "a pipe, socket or device"),
        (("/dev/zero", "-o", "x.mp4"), "a device"),
        (("{clip}", "-o", "x.xyz"), ".png, .jpg"),
        (("{clip}", "-o", "x.mp4", "--model", "nope"), "bicubic"),
        (("x" * 300,), "no name as long as this"),
    ],
)
def test_one_sentence(words: tuple[str, ...], told: str, clip: Path, tmp_path: Path, one_line, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = one_line("upscale", *(word.format(clip=clip) for word in words))
    assert code == 1 and told in said
    assert not leftovers(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.timeout(60)
def test_pipes_and_sockets_are_refused_at_once(clip: Path, tmp_path: Path, one_line, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo("pipe.webp")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.mp4")
        for words in (("info", "pipe.webp"), ("upscale", "pipe.webp"), ("degrade", "pipe.webp", "-o", "o.mp4")):
            assert "a pipe" in one_line(*words)[1]
        assert "a socket" in one_line("info", "socket.mp4")[1]
        for out in ("pipe.webp", "socket.mp4"):
            assert "cannot hold an output" in one_line("upscale", clip, "-o", out, "-y", *QUICK)[1]
    assert leftovers(tmp_path) == ["pipe.webp", "socket.mp4"]


def test_a_percent_sign_in_a_name_is_a_percent_sign(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "50%discount.mp4"
    source.write_bytes(clip.read_bytes())
    assert main(["upscale", str(source), "-q", *QUICK]) == 0
    assert (tmp_path / "50%discount_x4.mp4").is_file()


def test_a_pattern_goes_into_a_folder_that_holds_other_files(clip: Path, tmp_path: Path, one_line, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["upscale", str(clip), "-o", "f_%03d.png", "-q", *QUICK]) == 0
    images = [f"f_00{number}.png" for number in range(1, 6)]
    assert leftovers(tmp_path) == [*images, "thesis.tex"]
    assert (
        "f_001.png and 4 more of this pattern: already there"
        in one_line("upscale", clip, "-o", "f_%03d.png", *QUICK)[1]
    )
    assert main(["upscale", str(clip), "-o", "f_%03d.png", "-y", "-q", "--duration", "0.1", *QUICK]) == 0
    assert leftovers(tmp_path) == [*images[:3], "thesis.tex"]
    assert main(["upscale", "f_%03d.png", "-o", "new/g_%02d.png", "-q", *QUICK]) == 0
    assert leftovers(tmp_path / "new") == ["g_01.png", "g_02.png", "g_03.png"]
    assert "names of the input's images" in one_line("upscale", "f_%03d.png", "-o", "f_%03d.png", "-y", *QUICK)[1]


def test_a_pattern_that_was_published_in_part_is_completed(clip: Path, tmp_path: Path, monkeypatch) -> None:
    from starvsr.video.write import numbered_output

    place, count = numbered_output._place, iter(range(100))

    def killed(source: Path, target: Path) -> None:
        if next(count) == 2:
            raise KeyboardInterrupt
        place(source, target)

    monkeypatch.setattr(numbered_output, "_place", killed)
    words = ["upscale", str(clip), "-o", str(tmp_path / "f_%d.png"), "-q", *QUICK]
    assert main(words) == 130
    assert leftovers(tmp_path) == ["f_%d.png.job", "f_1.png", "f_2.png"]
    assert main(words) == 0
    assert leftovers(tmp_path) == [f"f_{number}.png" for number in range(1, 6)]


def test_jobs_of_no_name(one_line, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nothing.mp4", ".", "..", "/", "", "x" * 300):
        for command in ("show", "resume", "clean"):
            assert "there is no unfinished job" in one_line("jobs", command, name)[1]


def test_a_long_name_is_shortened_for_what_is_made_from_it(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / ("日" * 83 + ".mp4")
    source.write_bytes(clip.read_bytes())
    assert main(["upscale", str(source), "--compare", "-q", *QUICK]) == 0
    made = [path.name for path in tmp_path.iterdir() if path != source]
    assert len(made) == 3
    assert any(name.endswith("_x4.mp4") and name.startswith("日" * 70) for name in made)


@pytest.mark.parametrize("word", ["--exact", "--reference"])
def test_the_choices_of_the_released_code_have_two_names(word: str, clip: Path, tmp_path: Path, one_line) -> None:
    assert "has no use for --exact" in one_line("upscale", clip, "-o", tmp_path / "x.mp4", word, *QUICK)[1]
