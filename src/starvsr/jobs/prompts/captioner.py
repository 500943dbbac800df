"""Run the command of ``--caption``: frames in, a sentence out. No shell reads it, unless it names one itself."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from starvsr.data.text_files import one_line
from starvsr.errors import CaptionError, PromptError
from starvsr.families.settings import command_words

FRAMES = "{frames}"
"""Word of a command in whose place the frames stand; without it they follow the last word."""

_MOST_BYTES = 64 << 10  # of what the command prints
_TOLD = 200  # characters of its last error that are told


def ask_captioner(command: str, frames: Sequence[Path], timeout_s: float) -> str:
    """Run a captioner and return the sentence that it prints.

    Args:
        command: The command; see `command_words`.
        frames: The PNG files that it is given.
        timeout_s: Seconds after which it is stopped, with all processes that it started.

    Returns:
        The sentence, in one line.

    Raises:
        CaptionError: It cannot be started, fails, takes too long, or prints no sentence, or more than one line.
    """
    words = _with_frames(command_words(command), [str(frame) for frame in frames])
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:  # no pipe can fill up
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=printed, stderr=errors, start_new_session=True
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CaptionError(
                f"--caption {command}: cannot be started ({reason}): check the name of the program, and that it may run"
            ) from None
        code = _wait(process, command, timeout_s)
        if code != 0:
            ending = f"by signal {-code}" if code < 0 else f"with exit status {code}"
            raise CaptionError(f"--caption {command}: ended {ending}{_last_line(errors)}")
        return _sentence(command, printed, errors)


def _with_frames(words: list[str], frames: list[str]) -> list[str]:
    if FRAMES not in words:
        return [*words, *frames]
    return [word for each in words for word in (frames if each == FRAMES else [each])]


def _wait(process: subprocess.Popen[bytes], command: str, timeout_s: float) -> int:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _stop(process)
        raise CaptionError(
            f"--caption {command}: no answer in {timeout_s:g} seconds: give it more by --caption-timeout, or check "
            "what it waits for"
        ) from None
    except BaseException:
        _stop(process)
        raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that is still running, and what it started."""
    if process.poll() is None:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _sentence(command: str, printed: IO[bytes], errors: IO[bytes]) -> str:
    printed.seek(0)
    content = printed.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise CaptionError(f"--caption {command}: printed more than a sentence: let it print one line")
    try:
        lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise CaptionError(f"--caption {command}: printed what is not UTF-8: let it print text in UTF-8") from None
    if not lines:
        raise CaptionError(f"--caption {command}: printed nothing{_last_line(errors)}")
    if len(lines) > 1:
        raise CaptionError(
            f"--caption {command}: printed {len(lines)} lines, the first {shlex.quote(lines[0][:60])}: let it print a "
            "sentence in one line, and all else on standard error"
        )
    try:
        return one_line(lines[0], f"--caption {command}")
    except PromptError as error:
        raise CaptionError(str(error)) from None


def _last_line(errors: IO[bytes]) -> str:
    """Return the last line that a command printed on standard error, to be put behind a message."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _MOST_BYTES))
    lines = errors.read().decode("utf-8", "replace").split("\n")
    told = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; its last words: {told[:_TOLD]}" if told else ""
