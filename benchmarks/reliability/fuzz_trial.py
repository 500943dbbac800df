"""One input of the fuzz bench, tried and judged in this process by what it leaves, opens, takes and says.

What ends the process or never ends is seen from outside, by `benchmarks.reliability.fuzz_victim`.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.reliability.fuzz_cases import Case
from starvsr.apps.cli import main as starvsr

EXTRA_BYTES = 600 << 20  # of memory beyond what the process had before the input
_ADDRESSES = 4 << 30  # of address space beyond it: a net below the judgement
_LIMITS = ("--max-pixels", "4000000", "--max-frames", "300000", "--max-metadata", "4MB", "--max-stall", "30")
_WORDS = ("--model", "bicubic", "--scale", "1", "--segment", "4", "--threads", "1", "-q")
_OUTPUTS = ("out.mp4", "out.mkv", "out.mov", "pictures", "out.mkv", "out.mp4")
_ISOLATE_EACH = 25  # one input of so many is decoded in a process of its own
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn")
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate")
_ENDS = {0: "completed", 1: "refused", 2: "refused"}


class Trial:
    """This process, made ready to be hurt: its output goes to a file, its folders and limits are for nothing else.

    It cannot be undone.

    Args:
        folder: Gets ``trial``, emptied for every input, ``cwd``, and ``said``, what the last command printed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._cwd = folder / "trial", folder / "cwd"
        self._cwd.mkdir(exist_ok=True)
        os.chdir(self._cwd)
        for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
            os.environ[name] = str(self._folder / "elsewhere")
        tempfile.tempdir = None
        sys.dont_write_bytecode = True  # modules that were not compiled before are no finding
        self._said = os.open(folder / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(self._said, 1)
        os.dup2(self._said, 2)
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1)
        size = _status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESSES, size + _ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._watch = Watch()

    def judge(self, case: Case) -> dict[str, Any]:
        """Give one input to both commands; tell how that ended ("end"), the "findings" and the "megabytes" it took."""
        trial, watch = TrialFolder(self._folder, case), self._watch
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        before = _status("VmRSS")
        findings: list[str] = []
        corrupt = ("error", "skip", "conceal")[case.number % 3]
        commands: tuple[list[str], ...] = (
            ["info", str(trial.source), *_LIMITS, *(["--json"] if case.number % 2 else [])],
            ["upscale", str(trial.source), "-o", str(trial.out), *_WORDS, *_LIMITS, "--on-corrupt", corrupt],
        )
        watch.allowed, watch.seen = trial.folder.resolve() / "out", []
        watch.may_start = case.number % _ISOLATE_EACH == 1
        if watch.may_start:
            commands = tuple([*command, "--isolate"] for command in commands)
        ends = [_run(command, self._said, findings) for command in commands]
        watch.allowed = None
        findings += watch.seen
        peak = _status("VmHWM") - before
        if peak > EXTRA_BYTES:
            findings.append(f"took {peak >> 20} MB")
        findings += [f"wrote {stranger}" for stranger in trial.strangers()]
        if ends[1] != 0 and trial.out.exists():
            findings.append(f"left {trial.out.name} after a failure")
        if ends[1] == 0 and not trial.out.exists():
            findings.append("made no output and did not say so")
        findings += [f"wrote {p.name}" for p in self._cwd.iterdir()]
        return {"end": _ENDS.get(ends[1], "refused"), "findings": findings, "megabytes": peak >> 20}


class TrialFolder:
    """Where one input is tried: ``in/`` with the input, ``out/``, and places where nothing may appear."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("in", "out", "elsewhere"):
            (folder / name).mkdir(parents=True)
        self.source = folder / "in" / case.name
        self.source.write_bytes(case.data)
        self.out = folder / "out" / _OUTPUTS[case.number % len(_OUTPUTS)]

    def strangers(self) -> list[str]:
        """Name the files that are neither the input nor in the output folder."""
        found = [p for p in self.folder.rglob("*") if p.is_file() and self.folder / "out" not in p.parents]
        return [str(p.relative_to(self.folder)) for p in found if p != self.source]


class Watch:
    """Sees what the interpreter opens for writing, connects to and starts."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.may_start = False
        self.seen: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in _STARTS and self.may_start:
            return
        if event in (*_STARTS, "socket.connect", "os.system"):
            self.seen.append(f"{event} {arguments[:1]}")
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if is_write or event in _CHANGES:
            self._check(arguments[0])

    def _check(self, path: Any) -> None:
        if isinstance(path, int) or self.allowed is None:
            return
        place = Path(os.path.realpath(os.fsdecode(path)))
        if self.allowed not in (place, *place.parents) and str(place) != os.devnull:
            self.seen.append(f"writes {place}")


def _run(command: list[str], handle: int, findings: list[str]) -> int:
    """Run a command in this process; look at its exit code and at what it says."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    code: int
    try:
        code = starvsr(list(command))
    except BaseException as error:
        findings.append(f"{command[0]}: {type(error).__name__} came out: {str(error)[:200]}")
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os.lseek(handle, 0, os.SEEK_SET)
    text = os.read(handle, 1 << 20).decode(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if code not in (0, 99) and len(errors) != 1:
        findings.append(f"{command[0]}: exit code {code} and {len(errors)} lines of error: {text[-300:]}")
    if "unexpected " in text or "Traceback" in text:
        findings.append(f"{command[0]}: {text[-400:]}")
    if any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in text):
        findings.append(f"{command[0]}: control characters: {text[-300:]!r}")
    return code


def _status(name: str) -> int:
    """Return a figure of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) << 10
