"""The parent's side: start the decoder's process, ask it, and end it when it does not answer."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np

import starvsr.errors
from starvsr.errors import InputError, StarVsrError, UnreadableInputError
from starvsr.video.convert import Frame
from starvsr.video.images import is_pattern, list_images
from starvsr.video.info import VideoInfo
from starvsr.video.isolation.wire import WireError, pack, read_into, receive, send, unpack
from starvsr.video.limits import DEFAULT_LIMITS, Limits, plain
from starvsr.video.pixels import dtype_for
from starvsr.video.reader import VideoFrame, VideoReader

_TICK = 0.5  # seconds
_SLOWEST_DISK = 20_000_000  # bytes a second: patience with large files that are looked through
_START = "import sys; sys.path[:] = sys.argv[1:]; from starvsr.video.isolation.child import main; main()"
_KINDS = ("video", "image", "images", "animation")
_PIPE_BYTES = 1 << 20


def probe_isolated(
    path: str | Path, *, frame_rate: Fraction | None = None, limits: Limits = DEFAULT_LIMITS
) -> VideoInfo:
    """Do what `starvsr.video.probe` does, in a process of its own.

    Raises:
        InputError: As there; also when the decoder crashes, hangs or takes too much memory.
    """
    path = Path(path)
    with contextlib.closing(_Decoder(path, limits)) as decoder:
        request = {"do": "probe", "path": str(path), "frame_rate": pack(frame_rate), "limits": pack(limits)}
        answer = decoder.ask(request, "info")
        return decoder.checked(lambda: _info_from(answer["info"], path, limits))


def rehearse_isolated(info: VideoInfo, muxer: str) -> None:
    """Let a process of its own go through the streams that are going to be copied, to the end.

    Copying happens in this process. What the other one has come through, this one comes through as well: it is the
    same code on the same bytes.

    Args:
        info: The input.
        muxer: FFmpeg's name of the output's container.

    Raises:
        InputError: The process crashed, hung or took too much memory.
    """
    with contextlib.closing(_Decoder(info.path, info.limits)) as decoder:
        request = {"do": "rehearse", "info": pack(info), "muxer": muxer, "limits": pack(info.limits)}
        decoder.ask(request, "rehearsed")


class IsolatedReader(VideoReader):
    """A `VideoReader` whose decoder has a process of its own. Frames, notes and errors are the same.

    Args:
        info: What `probe_isolated` said.
        start: As in `VideoReader`.
        duration: As in `VideoReader`.
        deinterlace: As in `VideoReader`.
        on_corrupt: As in `VideoReader`.
        on_note: As in `VideoReader`.

    Raises:
        InputError: As there; also when the decoder crashes, hangs or takes too much memory.
        OptionError: As there.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        start: Fraction | None = None,
        duration: Fraction | None = None,
        deinterlace: str = "auto",
        on_corrupt: str = "error",
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.info = info
        self.path = info.path
        self.notes: list[str] = []
        self.num_frames_read = 0
        self._on_note = on_note
        self._start = Fraction(start) if start else None
        self._duration = Fraction(duration) if duration is not None else None
        self._missing: str | None = None
        self._request = {
            "do": "open",
            "path": str(info.path),
            "info": pack(info),
            "limits": pack(info.limits),
            "start": pack(start),
            "duration": pack(duration),
            "deinterlace": deinterlace,
            "on_corrupt": on_corrupt,
        }
        self._decoder: _Decoder | None = None
        self._opened()

    def close(self) -> None:
        """End the decoder's process; harmless when it has ended."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()

    def read(self, skip: int = 0) -> Iterator[VideoFrame]:
        """Yield the frames from the beginning or a later one, as `VideoReader.read` does."""
        decoder = self._opened()
        try:
            decoder.send({"do": "read", "skip": skip})
            while True:
                answer, raw = decoder.answer()
                if "end" in answer:
                    self.num_frames_read = decoder.value(answer, "end", int)
                    self._missing = decoder.value(answer, "missing", str | None)
                    return
                if "index" in answer:
                    yield self._frame(decoder, answer, raw)
        finally:
            self.close()

    def check_complete(self) -> None:
        """After reading to the end: refuse when the file promised noticeably more than it gave."""
        if self._missing is not None:
            raise UnreadableInputError(self._missing)

    def _opened(self) -> _Decoder:
        """Give the decoder that has opened the input; each reading has one of its own."""
        decoder, self._decoder = self._decoder, None
        if decoder is None or decoder.is_used:
            self.close()
            decoder = _Decoder(self.path, self.info.limits, self._note)
            try:
                decoder.ask(self._request, "opened")
            except BaseException:
                decoder.close()
                raise
        self._decoder = decoder
        return decoder

    def _frame(self, decoder: _Decoder, answer: dict[str, Any], size: int) -> VideoFrame:
        info = self.info
        shape = (info.height, info.width, 4 if info.has_alpha else 3)
        dtype: Any = dtype_for(info.bit_depth)
        index, pts, duration = (decoder.value(answer, name, int) for name in ("index", "pts", "duration"))
        if size != int(np.prod(shape)) * np.dtype(dtype).itemsize:
            raise decoder.nonsense()
        pixels = np.empty(shape, dtype)
        decoder.fill(pixels)
        self.num_frames_read = index + 1
        return VideoFrame(index, pts, info.time_base, duration, cast(Frame, pixels), info.bit_depth)


class _Decoder:
    """The process and its pipes."""

    def __init__(self, path: Path, limits: Limits, on_note: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._limits = limits
        self._on_note = on_note
        self._process = subprocess.Popen(
            decoder_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
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


def _info_from(data: Any, path: Path, limits: Limits) -> VideoInfo:
    """Build what is known about the input from an answer that nobody vouches for."""
    from dataclasses import replace

    info: VideoInfo = unpack(VideoInfo, data)
    av.VideoFormat(info.pixel_format)  # ValueError when there is none of that name
    sides, coded = sorted((info.width, info.height)), sorted((info.coded_width, info.coded_height))
    is_sane = (
        info.kind in _KINDS
        and sides[0] > 0
        and sides == coded
        and sides[0] * sides[1] <= limits.max_pixels
        and 0 < info.bit_depth <= 16
        and info.frame_rate > 0
        and info.time_base > 0
        and (info.num_frames is None or 0 < info.num_frames <= limits.max_frames)
        and info.rotation in (0, 90, 180, 270)
        and info.sample_aspect_ratio > 0
    )
    if not is_sane:
        raise WireError("senseless numbers")
    is_images = path.is_dir() or (is_pattern(path) and not path.exists())
    files, notes = list_images(path) if is_images else ((), info.notes)
    return replace(info, path=path, limits=limits, files=files, notes=notes)


def _widen(pipe: BinaryIO) -> None:
    """Let more than 64 KB be under way."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
