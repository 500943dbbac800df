"""The inputs of the fuzz bench, by seed and number: first all that are built to harm, then damaged files."""

from __future__ import annotations

import contextlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability import fuzz_bombs, fuzz_inputs


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        kind: What is wrong with it.
        name: Its file name.
        data: Its content.
        number: Of the input; chooses the output and how damage is met.
    """

    kind: str
    name: str
    data: bytes
    number: int


class Source:
    """Makes the inputs of a seed.

    Args:
        folder: For the files that damage begins from.
        seed: Of the damage.
        bombs: Whether to give those that are built to harm.
    """

    def __init__(self, folder: Path, seed: int, *, bombs: bool = True) -> None:
        self._seeds = _in_fork(folder)
        self._seed = seed
        self._bombs = list(fuzz_bombs.BOMBS) if bombs else []

    def case(self, number: int) -> Case:
        """Make an input."""
        if number < len(self._bombs):
            name, data = fuzz_bombs.BOMBS[self._bombs[number]](self._seeds)
            return Case("built to harm", name, data, number)
        kind, name, data = fuzz_inputs.hurt(self._seeds, random.Random(f"{self._seed}/{number}"))
        return Case(kind, name, data, number)

    def describe(self, number: int) -> str:
        """Say which input it is, so that it can be made again."""
        if number < len(self._bombs):
            return self._bombs[number]
        return f"seed {self._seed}, number {number}"


def _in_fork(folder: Path) -> dict[str, bytes]:
    """Make the seeds in a process of their own: encoders leave threads behind, and this one will be forked."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            fuzz_inputs.make_seeds(folder)
            os._exit(0)
        os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the files to begin from could not be made")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
