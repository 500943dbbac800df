"""The decoder's process: answers one request after the other on its standard input and output."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from starvsr.errors import StarVsrError
from starvsr.video.info import VideoInfo
from starvsr.video.untrusted.isolation.wire import pack, receive, send, unpack
from starvsr.video.untrusted.limits import Limits

_ALIVE_EVERY = 2.0  # seconds
_MOST_FILES = 256  # open at once


def main() -> None:
    """Serve until the parent is gone."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not come between
    _Child(requests, _Unbuffered(answers)).serve()


class _Unbuffered:
    """Writes all of a buffer to a pipe, however large; from several threads, one message at a time."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self._pipe.write(view) :]

    def flush(self) -> None:
        pass


class _Child:
    def __init__(self, requests: BinaryIO, answers: Any) -> None:
        self._requests = requests
        self._answers = answers
        self._lock = threading.Lock()
        self._reader: Any = None
        self._source: Any = None

    def serve(self) -> None:
        """Answer requests; the first names the limits."""
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "probe": self._probe,
            "open": self._open,
            "pipe": self._pipe,
            "read": self._read,
            "rehearse": self._rehearse,
        }
        first, _ = receive(self._requests)
        _confine(unpack(Limits, first["limits"]))
        threading.Thread(target=self._tell_alive, daemon=True).start()
        request: dict[str, Any] = first
        while True:
            try:
                actions[request["do"]](request)
            except StarVsrError as error:
                self._send({"error": type(error).__name__, "message": str(error)})
            except MemoryError:
                self._send({"error": "MemoryError", "message": "out of memory"})
            except BrokenPipeError:
                os._exit(0)
            except Exception as error:
                self._send({"error": "Exception", "message": f"{type(error).__name__}: {error}"})
            try:
                request, _ = receive(self._requests)
            except EOFError:
                os._exit(0)

    def _send(self, message: dict[str, Any], raw: Any = b"") -> None:
        with self._lock:
            send(self._answers, message, raw)

    def _tell_alive(self) -> None:
        """Say that frames are coming while they are passed over and none is sent, or that a pipe is waited for."""
        told = 0
        while True:
            threading.Event().wait(_ALIVE_EVERY)
            now = self._reader.num_frames_read if self._reader is not None else 0
            if now != told or (self._source is not None and self._source.is_waiting):
                told = now
                try:
                    self._send({"alive": now})
                except OSError:
                    os._exit(0)

    def _probe(self, request: dict[str, Any]) -> None:
        from starvsr.video.read.probe import probe

        rate = unpack(Fraction | None, request["frame_rate"])
        limits = unpack(Limits, request["limits"])
        info = probe(Path(request["path"]), frame_rate=rate, limits=limits)
        self._send({"info": {**pack(info), "files": []}})

    def _open(self, request: dict[str, Any]) -> None:
        from starvsr.video.read.reader import VideoReader

        self._reader = VideoReader(
            request["path"],
            start=unpack(Fraction | None, request["start"]),
            duration=unpack(Fraction | None, request["duration"]),
            deinterlace=request["deinterlace"],
            on_corrupt=request["on_corrupt"],
            info=unpack(VideoInfo, request["info"]),
            on_note=lambda note: self._send({"note": note}),
        )
        self._send({"opened": True})

    def _pipe(self, request: dict[str, Any]) -> None:
        from starvsr.video.pipes.descriptor import DescriptorReader
        from starvsr.video.pipes.reader import PipeReader

        self._source = DescriptorReader(request["number"])
        self._reader = PipeReader(
            self._source,
            start=unpack(Fraction | None, request["start"]),
            duration=unpack(Fraction | None, request["duration"]),
            deinterlace=request["deinterlace"],
            on_corrupt=request["on_corrupt"],
            frame_rate=unpack(Fraction | None, request["frame_rate"]),
            limits=unpack(Limits, request["limits"]),
            on_note=lambda note: self._send({"note": note}),
        )
        self._send({"info": {**pack(self._reader.info), "files": []}})

    def _read(self, request: dict[str, Any]) -> None:
        from numpy import ascontiguousarray as as_rows

        for frame in self._reader.read(skip=request["skip"]):
            self._send({"index": frame.index, "pts": frame.pts, "duration": frame.duration}, as_rows(frame.pixels))
        try:
            self._reader.check_complete()
            missing = None
        except StarVsrError as error:
            missing = str(error)
        self._send({"end": self._reader.num_frames_read, "missing": missing})

    def _rehearse(self, request: dict[str, Any]) -> None:
        from starvsr.video.untrusted.isolation.rehearsal import rehearse

        info, converts_sound = unpack(VideoInfo, request["info"]), request["converts_sound"]
        rehearse(info, request["muxer"], converts_sound=converts_sound)
        self._send({"rehearsed": True})


def _confine(limits: Limits) -> None:
    """Take away what a decoder does not need: more memory, writing files, core dumps."""
    if sys.platform == "win32":
        return
    import resource

    # code and threads that are there already count, so they come on top
    limit = limits.decoder_memory + _address_space()
    for kind, most in (
        (resource.RLIMIT_AS, limit),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            continue  # systems without this limit


def _address_space() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 1 << 30


if __name__ == "__main__":
    main()
