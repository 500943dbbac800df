"""The parent's side: probe, read and rehearse through a decoder that has a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from starvsr.errors import UnreadableInputError
from starvsr.video.convert import Frame
from starvsr.video.info import VideoInfo
from starvsr.video.patterns import is_pattern
from starvsr.video.pixels import dtype_for
from starvsr.video.read.images import list_images
from starvsr.video.read.reader import VideoFrame, VideoReader
from starvsr.video.untrusted.isolation.process import DecoderProcess
from starvsr.video.untrusted.isolation.wire import WireError, pack, unpack
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits

_KINDS = ("video", "image", "images", "animation")


def probe_isolated(
    path: str | Path, *, frame_rate: Fraction | None = None, limits: Limits = DEFAULT_LIMITS
) -> VideoInfo:
    """Do what `starvsr.video.probe` does, in a process of its own.

    Raises:
        InputError: As there; also when the decoder crashes, hangs or takes too much memory.
    """
    path = Path(path)
    with contextlib.closing(DecoderProcess(path, limits)) as decoder:
        request = {"do": "probe", "path": str(path), "frame_rate": pack(frame_rate), "limits": pack(limits)}
        answer = decoder.ask(request, "info")
        return decoder.checked(lambda: info_from(answer["info"], path, limits))


def rehearse_isolated(info: VideoInfo, muxer: str, *, converts_sound: bool = False) -> None:
    """Let a process of its own go through the streams that are going to be copied, to the end.

    Copying happens in this process. What the other one has come through, this one comes through as well: it is the
    same code on the same bytes.

    Args:
        info: The input.
        muxer: FFmpeg's name of the output's container.
        converts_sound: Whether sound that the container cannot hold is coded anew, and so is decoded.

    Raises:
        InputError: The process crashed, hung or took too much memory.
    """
    with contextlib.closing(DecoderProcess(info.path, info.limits)) as decoder:
        request = {
            "do": "rehearse",
            "info": pack(info),
            "muxer": muxer,
            "converts_sound": converts_sound,
            "limits": pack(info.limits),
        }
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
        self._begin(info.path, start, duration, on_note)
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
        self._decoder: DecoderProcess | None = None
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

    def _opened(self) -> DecoderProcess:
        """Give the decoder that has opened the input; each reading has one of its own."""
        decoder, self._decoder = self._decoder, None
        if decoder is None or decoder.is_used:
            self.close()
            decoder = DecoderProcess(self.path, self.info.limits, self._note)
            try:
                decoder.ask(self._request, "opened")
            except BaseException:
                decoder.close()
                raise
        self._decoder = decoder
        return decoder

    def _frame(self, decoder: DecoderProcess, answer: dict[str, Any], size: int) -> VideoFrame:
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


def info_from(data: Any, path: Path, limits: Limits) -> VideoInfo:
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
    is_images = path.is_dir() or is_pattern(path)
    files, notes = list_images(path) if is_images else ((), info.notes)
    if info.other_size is not None and not 0 < info.other_size[0] < len(files):
        raise WireError("no such image")
    return replace(info, path=path, limits=limits, files=files, notes=notes)
