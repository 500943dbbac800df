"""A pipe whose decoder has a process of its own: that process reads the pipe, this one gets frames."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction

from starvsr.errors import OptionError
from starvsr.video.pipes.descriptor import DescriptorReader
from starvsr.video.pipes.opening import NAME
from starvsr.video.read.reader import VideoFrame
from starvsr.video.untrusted.isolation.parent import IsolatedReader, info_from
from starvsr.video.untrusted.isolation.process import DecoderProcess
from starvsr.video.untrusted.isolation.wire import pack
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits


class IsolatedPipeReader(IsolatedReader):
    """Read the frames of a pipe, once, as `starvsr.video.pipes.reader.PipeReader` does. There is no sound.

    Args:
        source: The pipe. Nothing may have been read of it, and nothing may be read of it afterwards.
        start: As in `VideoReader`.
        duration: As in `VideoReader`.
        deinterlace: As in `VideoReader`.
        on_corrupt: As in `VideoReader`.
        frame_rate: As in `VideoReader`.
        limits: What the input may ask for.
        on_note: As in `VideoReader`.

    Raises:
        InputError: As there; also when the decoder crashes, hangs or takes too much memory.
        OptionError: This system cannot hand a pipe to another process.
    """

    def __init__(
        self,
        source: DescriptorReader,
        *,
        start: Fraction | None = None,
        duration: Fraction | None = None,
        deinterlace: str = "auto",
        on_corrupt: str = "error",
        frame_rate: Fraction | None = None,
        limits: Limits = DEFAULT_LIMITS,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        if sys.platform == "win32":
            raise OptionError("--isolate cannot read standard input on Windows: write it to a file first")
        self._begin(NAME, start, duration, on_note)
        self._missing: str | None = None
        number = os.dup(source.number)
        try:
            decoder = DecoderProcess(NAME, limits, self._note, inherited=number)
        finally:
            os.close(number)
        self._decoder = decoder
        request = {
            "do": "pipe",
            "number": number,
            "limits": pack(limits),
            "start": pack(start),
            "duration": pack(duration),
            "deinterlace": deinterlace,
            "on_corrupt": on_corrupt,
            "frame_rate": pack(frame_rate),
        }
        try:
            answer = decoder.ask(request, "info")
            self.info = decoder.checked(lambda: info_from(answer["info"], NAME, limits))
        except BaseException:
            decoder.close()
            raise

    def read(self, skip: int = 0) -> Iterator[VideoFrame]:
        """Yield the frames; a pipe can be read only once."""
        if self._decoder is None or self._decoder.is_used:
            raise RuntimeError("a pipe can be read only once")
        return super().read(skip)

    def stop(self) -> None:
        """Give up reading, from another thread: the process is ended."""
        self.close()
