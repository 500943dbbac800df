"""The `torchrun` line for several hosts: two launchers on this machine that meet, of one process each."""

from __future__ import annotations

import re
import socket
import subprocess
import sys


def on_two_hosts(words: list[str]) -> tuple[int, str]:
    """Run torchrun with these words; returns the largest exit status, and what was said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    line = re.sub(r"--nnodes \d+ --nproc-per-node \d+", "--nnodes 2 --nproc-per-node 1", " ".join(words))
    command = [sys.executable, "-m", "torch.distributed.run", *line.replace("HOST:29500", place).split()]
    hosts = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        said = "".join(host.communicate(timeout=300)[1] for host in hosts)
    finally:
        for host in hosts:
            host.kill()
    return max(host.returncode for host in hosts), said
