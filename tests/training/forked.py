"""Tiny training runs in processes of their own, started, killed and resumed by `python -m tests.training.forked`.

Torch is imported once; the runs are forks, made before torch has started any thread.

    forked kill RECIPE UNDISTURBED KILLED      one run left alone, one killed after its fifth step and resumed
    forked pair RECIPE FOLDER [KEY=VALUE ...]  two processes that train together over gloo
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch

from starvsr.families import registry
from starvsr.families.star_i2vgen import load as loading_published
from starvsr.training.run import train
from tests.training.tiny import TINY, TOWER, published_entries


def start(recipe: Path, folder: Path, *overrides: str, **environment: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment)
        train(recipe, folder, overrides)
        code = 0
    except BaseException:
        traceback.print_exc()  # os._exit tells nothing
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(recipe: Path, undisturbed: Path, killed: Path) -> None:
    assert ended(start(recipe, undisturbed)) == 0
    pid = start(recipe, killed)
    while not (killed / "step-00000005.pt").exists():
        time.sleep(0.005)
        assert os.waitpid(pid, os.WNOHANG)[0] == 0, "the run ended before it could be killed"
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    print("killed at", max(killed.glob("step-*.pt")).stem, flush=True)
    assert ended(start(recipe, killed, "data.workers=0")) == 0


def pair(recipe: Path, folder: Path, *overrides: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    pids = [start(recipe, folder, *overrides, RANK=rank, LOCAL_RANK=rank, **place) for rank in "01"]
    assert [ended(pid) for pid in pids] == [0, 0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    registry.MODELS["tiny"] = TINY
    registry.MODELS["star-light"] = published_entries()
    loading_published.TEXT_TOWER = TOWER
    command, recipe, *words = sys.argv[1:]
    if command == "kill":
        kill(Path(recipe), Path(words[0]), Path(words[1]))
    else:
        pair(Path(recipe), Path(words[0]), *words[1:])
