"""The command of --caption: what it is given, what is taken from it, how it fails."""

from __future__ import annotations

import os
import shlex
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.errors import CaptionError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.prompts.captioner import ask_captioner
from starvsr.jobs.prompts.clip_frames import write_frames
from starvsr.video import probe
from tests.jobs.prompts.captioning import Captioner, film

FRAMES = [Path("/in a/frame 1.png"), Path("/in a/frame 2.png")]


def python(code: str) -> str:
    return shlex.join([sys.executable, "-I", "-c", code])


def test_frames_are_words_of_the_command_and_its_line_is_the_answer() -> None:
    echo = python("import sys; print(*sys.argv[1:], sep='|')")
    assert ask_captioner(echo, FRAMES, 60) == "/in a/frame 1.png|/in a/frame 2.png"
    assert ask_captioner(f"{echo} --in {{frames}} --end", FRAMES, 60) == (
        "--in|/in a/frame 1.png|/in a/frame 2.png|--end"
    )
    assert ask_captioner(python(r"print('\n  un caf\xe9  noir \r\n')") + " -", [], 60) == "un café noir"


def test_no_shell_reads_the_command_unless_it_names_one(tmp_path: Path) -> None:
    echo = python("import sys; print(*sys.argv[1:])")
    assert ask_captioner(f"{echo} $HOME ; echo 'a b' > {tmp_path}/made `id` *", [], 60) == (
        f"$HOME ; echo a b > {tmp_path}/made `id` *"
    )
    assert not list(tmp_path.iterdir())
    assert ask_captioner("""sh -c 'echo "$# frames" | tr a-z A-Z' sh""", FRAMES, 60) == "2 FRAMES"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-captioner", "cannot be started"),
        (python("import sys; sys.exit('no model\\nout of memory')"), "exit status 1; its last words: out of memory"),
        (python("import os; os.kill(os.getpid(), 9)"), "by signal 9"),
        (python("import sys; print('hm', file=sys.stderr)"), "printed nothing; its last words: hm"),
        (python("print('loading the model\\na barn')"), "printed 2 lines, the first 'loading the model'"),
        (python("import sys; sys.stdout.buffer.write(b'caf\\xe9')"), "not UTF-8"),
        (python("print('x' * 100000)"), "more than a sentence"),
        (python("print('x' * 20000)"), "at most 10000"),
        (python("print('\\x1b[31mred')"), "control character"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(command: str, told: str) -> None:
    with pytest.raises(CaptionError, match=r"^--caption ") as failed:
        ask_captioner(command, FRAMES, 60)
    assert told in str(failed.value) and "\x1b" not in str(failed.value)


def test_a_captioner_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(CaptionError, match="no answer in 1 seconds: give it more by --caption-timeout"):
        ask_captioner(f"sh -c 'sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait'", [], 1)
    deadline = time.monotonic() + 60
    while any(_is_running(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, [2, 7, 12, 17]),
        ({"start": 10}, [11, 13, 16, 18]),
        ({"start": 4, "duration": 2}, [4, 5]),
    ],
)
def test_frames_are_spread_over_the_part_that_is_upscaled(
    tmp_path: Path, options: dict[str, int], places: list[int]
) -> None:
    info = probe(film(tmp_path / "film", 20), frame_rate=Fraction(1))
    (tmp_path / "out").mkdir()
    files = write_frames(info, UpscaleOptions(frame_rate=1, **options), 4, tmp_path / "out")  # type: ignore[arg-type]
    pixels = [pixels_of(file) for file in files]
    assert [int(each[0, 0, 0]) // 5 for each in pixels] == places
    assert [file.name for file in files] == [f"frame_{number}.png" for number in range(1, len(places) + 1)]
    assert {each.shape for each in pixels} == {(10, 12, 3)}


def pixels_of(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def test_a_single_image_is_one_frame_in_8_bits_without_transparency(tmp_path: Path, captioner: Captioner) -> None:
    Image.new("I;16", (6, 4), 30000).save(tmp_path / "deep.png")
    Image.new("RGBA", (6, 4), (9, 8, 7, 100)).save(tmp_path / "glass.png")
    for name, mode in (("deep", (117,) * 3), ("glass", (9, 8, 7))):
        (file,) = write_frames(probe(tmp_path / f"{name}.png"), UpscaleOptions(), 4, tmp_path)
        with Image.open(file) as image:
            assert image.mode == "RGB" and image.getpixel((0, 0)) == mode
    assert ask_captioner(captioner.command("a barn"), [file], 60) == "a barn" and captioner.calls == [1]
    assert os.path.exists(file)
