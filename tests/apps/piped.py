"""Running a command with pipes as its standard input and standard output, in this process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from starvsr.apps.cli import main


@dataclass
class Piped:
    code: int
    out: bytes
    err: str


def run_piped_command(
    words: Sequence[str | Path], data: bytes, capsys: pytest.CaptureFixture[str], *, take: int | None = None
) -> Piped:
    """Run `starvsr` with ``data`` on standard input.

    Args:
        words: The words of the command.
        data: What is written into its standard input.
        capsys: Captures what it says.
        take: Bytes after which whoever reads its standard output closes it; None reads all.
    """
    source, feed = os.pipe()
    drain, target = os.pipe()
    got: list[bytes] = []

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(feed, "wb", buffering=0) as file:
            view = memoryview(data)
            while len(view):
                view = view[file.write(view[: 1 << 16]) :]

    def read() -> None:
        with os.fdopen(drain, "rb", buffering=0) as file:
            size = 0
            while (take is None or size < take) and (piece := file.read(1 << 16)):
                got.append(piece)
                size += len(piece)

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    before = os.dup(0), os.dup(1)
    os.dup2(source, 0)
    os.dup2(target, 1)
    os.close(source)
    os.close(target)
    for thread in threads:
        thread.start()
    try:
        code = main([str(word) for word in words])
    finally:
        os.dup2(before[0], 0)
        os.dup2(before[1], 1)
        for number in before:
            os.close(number)
        for thread in threads:
            thread.join(10)
    return Piped(code, b"".join(got), capsys.readouterr().err)
