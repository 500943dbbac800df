"""Commands that do harm, for the judge of the fuzz bench: python -m tests.benchmarks.fuzz_deeds FOLDER."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability import fuzz_inputs, fuzz_trial, fuzz_victim
from benchmarks.reliability.fuzz_cases import Case
from benchmarks.reliability.fuzz_victim import Victim


class Still:
    """A source of one harmless input."""

    def case(self, number: int) -> Case:
        return Case("still", "a.png", fuzz_inputs.png(8, 8), number)

    def describe(self, number: int) -> str:
        return f"still {number}"


def crash(words: list[str]) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def hang(words: list[str]) -> int:
    time.sleep(1000)
    return 0


def swell(words: list[str]) -> int:
    block = bytearray(b"x") * (fuzz_trial.EXTRA_BYTES + (64 << 20))
    return len(block) * 0


def outside(words: list[str]) -> int:
    Path(words[1]).with_name("stranger").write_text("x")
    return 0


def half(words: list[str]) -> int:
    if words[0] == "upscale":
        Path(words[3]).write_text("half")
    print("error: it failed", file=sys.stderr)
    return 1


def loud(words: list[str]) -> int:
    print("error: one\nerror: \x1b[2Jtwo", file=sys.stderr)
    return 1


def raising(words: list[str]) -> int:
    raise RuntimeError("out of the command")


def shell(words: list[str]) -> int:
    subprocess.run(["true"], check=True)
    return 0


def main() -> None:
    """Let the judge see each deed and print what it says."""
    source: Any = Still()
    found = {}
    for number, deed in enumerate((fuzz_trial.starvsr, crash, hang, swell, outside, half, loud, raising, shell)):
        fuzz_trial.starvsr = deed
        fuzz_victim.SECONDS = 2.0 if deed is hang else 60.0
        folder = Path(sys.argv[1]) / str(number)
        folder.mkdir()
        victim = Victim(source, folder)
        found["harmless" if number == 0 else deed.__name__] = victim.give(0)["findings"]
        victim.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
