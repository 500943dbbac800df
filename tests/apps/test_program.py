"""The command as a program: help at once, signals heeded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from starvsr.apps.cli import cli, main
from starvsr.families.options import option_infos
from starvsr.options import flag_name
from starvsr.video import VideoReader
from tests.apps.commands import QUICK, leftovers, write_clip


def _starvsr(*words: str | Path, **details) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "starvsr", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts if os.name == "posix" else None,
        **details,
    )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells make what they start in the background deaf to it


def test_help_names_every_option_and_loads_no_torch() -> None:
    code = (
        "import sys; from starvsr.apps.cli import main; main(['upscale', '--help']); main(['--help']);"
        "import starvsr; sys.exit(any(m in sys.modules for m in ('torch', 'av', 'numpy', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, _ in option_infos():
        assert flag_name(name) in done.stdout


def test_the_list_of_commands_imports_none_of_them_and_says_what_they_say() -> None:
    code = (
        "import sys; from starvsr.apps.cli import main; main(['--help']);"
        "sys.exit(any(m.startswith(('starvsr.families', 'starvsr.options')) for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = " ".join(done.stdout.split())
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert f"{name} {command.get_short_help_str(200)}" in listed


@pytest.mark.timeout(900)  # a machine that is busy otherwise may take minutes to start a program
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_finished_and_the_same_command_goes_on(number: int, code: int, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "long.mp4", num_frames=24, size=(160, 120), rate=4)
    out = tmp_path / "out"
    out.mkdir()
    words = ("upscale", source, "-o", out / "o.mp4", "--segment", "2", "--codec", "hevc", *QUICK)
    with _starvsr(*words) as process:
        try:
            deadline = time.monotonic() + 300
            while not (out / "o.mp4.job" / "part_000000").exists() and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            process.send_signal(number)
            _, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == code
    note, error = err.splitlines()[-2:]
    assert error == "error: stopped: nothing was left half written"
    assert "are finished and kept in" in note and "the same command goes on" in note
    assert "Traceback" not in err
    assert leftovers(out) == ["o.mp4.job"]
    assert main(["jobs", "resume", str(out / "o.mp4"), "-q"]) == 0
    assert leftovers(out) == ["o.mp4"]
    assert sum(1 for _ in VideoReader(out / "o.mp4")) == 24
