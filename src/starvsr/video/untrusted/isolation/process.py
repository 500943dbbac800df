"""The decoder's process as the parent sees it: started, asked, believed nothing, and ended when it does not answer."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import starvsr.errors
from starvsr.errors import InputError, StarVsrError, UnreadableInputError
from starvsr.video.untrusted.isolation.wire import WireError, read_into, receive, send, unpack
from starvsr.video.untrusted.limits import Limits, plain

_TICK = 0.5  # seconds
_SLOWEST_DISK = 20_000_000  # bytes a second: patience with large files that are looked through
_START = "import sys; sys.path[:] = sys.argv[1:]; from starvsr.video.untrusted.isolation.child import main; main()"
_PIPE_BYTES = 1 << 20


class DecoderProcess:
    """The process, its pipes, and the time it may take.

    Args:
        path: The input, for messages.
        limits: How long and how large it may be.
        on_note: Called with each note that it sends.
        inherited: A descriptor that it gets under the same number, as a pipe that it reads; None for none.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        on_note: Callable[[str], None] | None = None,
        *,
        inherited: int | None = None,
    ) -> None:
        self._path = path
        self._limits = limits
        self._on_note = on_note
        self._process = subprocess.Popen(
            decoder_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=() if inherited is None else (inherited,),
            start_new_session=sys.platform != "win32",  # Ctrl-C is for the parent alone
        )
        self._pipe = cast(BinaryIO, self._process.stdout)
        _widen(self._pipe)
        self.is_used = False
        self._patience = float(limits.max_stall)
        self._waited: float | None = None
        self._is_late = False
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._watch_time, name="starvsr-decoder-watch", daemon=True)
        self._watch.start()

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        self.is_used = self.is_used or request["do"] == "read"
        try:
            send(cast(BinaryIO, _Whole(self._process.stdin)), request)
        except OSError:
            raise self._ended() from None

    def ask(self, request: dict[str, Any], wanted: str) -> dict[str, Any]:
        """Send a request and wait for its answer. The whole file may be looked through for it."""
        size = self._path.stat().st_size if self._path.is_file() else 0
        self._patience = float(self._limits.max_stall) + size / _SLOWEST_DISK
        self.send(request)
        answer: dict[str, Any] = {}
        while wanted not in answer:
            answer, raw = self.answer()
            if raw:
                raise self.nonsense()
        self._patience = float(self._limits.max_stall)
        return answer

    def answer(self) -> tuple[dict[str, Any], int]:
        """Wait for the next message that is neither a note nor a sign of life; raise the error that it tells."""
        while True:
            answer, raw = self._timed(lambda: receive(self._pipe))
            if "error" in answer:
                raise self._error(answer)
            if "note" in answer and not raw:
                if self._on_note is not None:
                    self._on_note(self.value(answer, "note", str))
            elif "alive" not in answer:
                return answer, raw

    def fill(self, pixels: Any) -> None:
        """Read raw bytes into an array."""
        self._timed(lambda: read_into(self._pipe, memoryview(pixels).cast("B")))

    def value(self, answer: dict[str, Any], name: str, kind: Any) -> Any:
        """Take a value of a type out of an answer."""
        return self.checked(lambda: unpack(kind, answer[name]))

    def checked(self, convert: Callable[[], Any]) -> Any:
        """Convert what came, or say that it was nonsense."""
        try:
            return convert()
        except (WireError, KeyError, TypeError, ValueError):
            raise self.nonsense() from None

    def nonsense(self) -> StarVsrError:
        """Make the error for answers that make no sense."""
        return UnreadableInputError(f"{self._path}: the decoder answered nonsense; the file is damaged or hostile")

    def close(self) -> None:
        """End the process."""
        self._closed.set()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._watch is not threading.current_thread():
            self._watch.join()

    def _timed(self, wait: Callable[[], Any]) -> Any:
        self._waited = 0.0
        try:
            return wait()
        except EOFError:
            raise self._ended() from None
        except WireError:
            raise self.nonsense() from None
        finally:
            self._waited = None

    def _watch_time(self) -> None:
        """Kill the process when it is waited for too long; time in which this process is halted does not count."""
        while not self._closed.wait(_TICK):
            if self._waited is not None:
                self._waited += _TICK
                if self._waited > self._patience:
                    self._is_late = True
                    self._process.kill()
                    return

    def _error(self, answer: dict[str, Any]) -> StarVsrError:
        name, text = (str(answer.get(part))[:2000] for part in ("error", "message"))
        if name == "MemoryError" or "Cannot allocate memory" in text:
            return self._limit("the decoder wants more memory", "decoder_memory")
        kind = getattr(starvsr.errors, name, None)
        if isinstance(kind, type) and issubclass(kind, StarVsrError):
            return kind(text)
        return InputError(f"{self._path}: the decoder failed ({text}); check or convert the file")

    def _ended(self) -> StarVsrError:
        """Say why the process is gone."""
        self._process.wait()
        if self._is_late:
            return self._limit(f"no frame for {self._patience:.0f} seconds, the decoder was ended", "max_stall")
        code = self._process.returncode
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return InputError(
                f"{self._path}: the decoder crashed ({how}): the file is damaged or hostile; leave it out"
            )
        return InputError(f"{self._path}: the decoder crashed ({code}): the file is damaged or hostile; leave it out")

    def _limit(self, what: str, name: str) -> StarVsrError:
        flag, limit = "--" + name.replace("_", "-"), plain(getattr(self._limits, name))
        text = f"{self._path}: {what}, more than the limit of {limit}; if the file can be trusted, raise {flag}"
        return starvsr.errors.LimitError(text)


class _Whole:
    """Writes whole buffers to an unbuffered pipe."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def write(self, data: Any) -> None:
        view = memoryview(data)
        while len(view):
            view = view[self._pipe.write(view) :]

    def flush(self) -> None:
        pass


def decoder_command() -> list[str]:
    """Return the command that starts the decoder's process: this interpreter, without its environment's ways in."""
    return [sys.executable, "-I", "-c", _START, *sys.path]


def _widen(pipe: BinaryIO) -> None:
    """Let more than 64 KB be under way."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
