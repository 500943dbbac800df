"""A process that tries inputs of the fuzz bench, seen from outside: it may die, hang, or answer.

It is forked from this one, which has everything loaded, and takes one input after the other, so that an input costs no
start of Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.fuzz_cases import Source
from benchmarks.reliability.fuzz_trial import Trial
from starvsr import api
from starvsr.families import bicubic as baseline
from starvsr.jobs import run as running

SECONDS = 60.0  # for one input, both commands
_LOADED = (api, baseline, running)  # the commands import them late: here they come with the fork


class Victim:
    """A process that takes one input after the other."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._folder = folder
        self.num_done = 0
        job_end, jobs = os.pipe()
        answers, answer_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(jobs)
            os.close(answers)
            with contextlib.suppress(BaseException), os.fdopen(job_end) as lines, os.fdopen(answer_end, "w") as told:
                trial = Trial(folder)
                for line in lines:
                    told.write(json.dumps(trial.judge(source.case(int(line)))) + "\n")
                    told.flush()
            os._exit(0)
        os.close(job_end)
        os.close(answer_end)
        self._jobs = os.fdopen(jobs, "w")
        self._answers = os.fdopen(answers, "rb", buffering=0)

    def give(self, number: int) -> dict[str, Any]:
        """Let it try an input; tell how that ended even when it never answers."""
        self.num_done += 1
        try:
            self._jobs.write(f"{number}\n")
            self._jobs.flush()
            line = self._line()
        except BrokenPipeError:
            line = b""
        if line is None:
            os.kill(self._pid, signal.SIGUSR1)
            time.sleep(0.5)
            end = f"no end after {SECONDS:.0f} s"
        elif line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        else:
            end = "died"
        status = self.close()
        if os.WIFSIGNALED(status) and end == "died":
            end = f"died by {signal.Signals(os.WTERMSIG(status)).name}"
        said = (self._folder / "said").read_text(errors="replace")[-1500:]
        return {"end": "died", "findings": [f"{end}: {said}"], "megabytes": 0}

    def _line(self) -> bytes | None:
        """Read a line; None when time is up. Time in which this process was halted as well does not count."""
        line, ticks = b"", 0.0
        while not line.endswith(b"\n"):
            if select.select([self._answers], [], [], 0.25)[0]:
                piece = self._answers.read(1 << 16)
                if not piece:
                    return b""
                line += piece
            else:
                ticks += 0.25
            if ticks > SECONDS:
                return None
        return line

    def close(self) -> int:
        """End the process and return its status."""
        if self._pid == 0:
            return 0
        with contextlib.suppress(OSError):
            self._jobs.close()
        pid, status, patience = 0, 0, 20
        while not pid and patience:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            patience -= 1
            if not pid:
                time.sleep(0.1)
        if not pid:
            os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._answers.close()
        return status
