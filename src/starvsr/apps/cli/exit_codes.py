"""How the command ends: one line for an error, an exit code, and a clean end on Ctrl-C and on termination."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from starvsr.apps.cli.standard_streams import prepare_streams, silence
from starvsr.apps.cli.terminal import printable
from starvsr.errors import Cancelled, StarVsrError

FAILED, WRONG_USAGE = 1, 2
_UNWRITABLE = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(BaseException):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_command(command: click.Command, words: list[str]) -> int:
    """Run a click command, print errors as one line, and return the exit code."""
    prepare_streams()
    debug = _take_debug(words)
    try:
        with _signals_raise():
            result = command.main(words, prog_name="starvsr", standalone_mode=False)
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "starvsr"
        _report(f"{error.format_message().rstrip('.')}; `{path} --help` shows what there is")
        return WRONG_USAGE
    except click.ClickException as error:
        return _report(error.format_message())
    except (Stopped, KeyboardInterrupt, click.Abort) as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        _report("stopped: nothing was left half written")
        return 128 + int(number)
    except SystemExit as stop:  # click ends the program itself when nobody reads on, and after completion
        return _nobody_reads() if type(sys.stdout).__name__.endswith("PacifyFlushWrapper") else int(stop.code or 0)
    except BrokenPipeError:
        return _nobody_reads()
    except (StarVsrError, Exception) as error:
        if debug:
            raise
        return _report(_of_stdout(error) or message_of(error))
    finally:
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except (OSError, ValueError):
                silence(name)


def _nobody_reads() -> int:
    silence("stdout")
    return 128 + 13


def _of_stdout(error: BaseException) -> str | None:
    """Say that standard output cannot be written, if that is what the error is; None for all others.

    Errors of outputs have become ours by the time they come here, and others name a file.
    """
    if not isinstance(error, OSError) or error.filename is not None or error.errno not in _UNWRITABLE:
        return None
    silence("stdout")
    return f"standard output cannot be written ({error.strerror}); free some space, or write elsewhere"


def _take_debug(words: list[str]) -> bool:
    """Take `--debug` out of the words, wherever it stands before `--`."""
    end = words.index("--") if "--" in words else len(words)
    found = "--debug" in words[:end]
    while "--debug" in words[:end]:
        words.remove("--debug")
        end -= 1
    return found


def message_of(error: BaseException) -> str:
    """Put an error into one line."""
    text = " ".join(str(error).split())
    if isinstance(error, StarVsrError):
        return text
    return f"unexpected {type(error).__name__}: {text or 'no message'}; please report it with the output of --debug"


def _report(message: str) -> int:
    with contextlib.suppress(OSError, ValueError, SystemExit):  # nobody can read it: the exit code tells
        click.echo(f"{click.style('error', fg='red', bold=True)}: {printable(message)}", err=True)
    return FAILED


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into an exception; later ones do not disturb the cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for name in _SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        raise Stopped(number)

    before = {}
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["FAILED", "WRONG_USAGE", "Cancelled", "Stopped", "message_of", "run_command"]
