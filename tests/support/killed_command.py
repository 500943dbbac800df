"""`starvsr upscale` left alone, and killed after its first part and given again: one process that forks for each.

    python -m tests.support.killed_command MODEL WEIGHTS CLIP WHOLE CUT [WORDS ...]

The model is loaded once before, so that its libraries are imported once, and before torch has started any thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from starvsr import load_upscaler
from starvsr.apps.cli import main
from tests.jobs.interrupting import records


def kill_and_resume(model: str, weights: Path, clip: Path, whole: Path, cut: Path, *words: str) -> None:
    """Run this module: make ``whole`` undisturbed, and ``cut`` by a command that is killed and given again."""
    given = [model, *(str(path) for path in (weights, clip, whole, cut)), *words]
    command = [sys.executable, "-m", "tests.support.killed_command", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def started(words: Sequence[str]) -> int:
    """Fork a process that runs the command; give its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = main(list(words))
    except BaseException:
        traceback.print_exc()  # os._exit tells nothing
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(model: str, weights: str, clip: Path, whole: Path, cut: Path, *words: str) -> None:
    load_upscaler(model, device="cpu", weights=weights)
    command = ["upscale", str(clip), "--model", model, "--weights", weights, *words, "-q", "-o"]
    assert ended(started([*command, str(whole)])) == 0
    pid, journal = started([*command, str(cut)]), cut.with_name(cut.name + ".job") / "journal"
    while not (journal.is_file() and records(cut, "part")):
        time.sleep(0.01)
        assert os.waitpid(pid, os.WNOHANG)[0] == 0, "it ended before it could be killed"
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    assert not cut.exists() and records(cut, "part") and not records(cut, "whole")
    assert ended(started([*command, str(cut)])) == 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(*sys.argv[1:3], *map(Path, sys.argv[3:6]), *sys.argv[6:])
