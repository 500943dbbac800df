"""A look at a few frames before the whole is done, with one loaded model: `open_preview`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from starvsr.engine.upscaler import Upscaler
from starvsr.errors import InputError, OptionError
from starvsr.families.options import UpscaleOptions, options_from
from starvsr.jobs.inputs import open_reader, probe_input
from starvsr.streaming import open_stream

if TYPE_CHECKING:
    from starvsr.engine.frame_stream import FrameStream
    from starvsr.engine.render import Pixels
    from starvsr.video import VideoInfo

_CONTEXT = 4  # frames that are upscaled before those that are shown, for models that look back


@dataclass(frozen=True)
class PreviewFrame:
    """A frame before and after.

    Attributes:
        time: Seconds from the start of the clip.
        before: The bicubic enlargement, as large as the result: uint8 or uint16 [H, W, 3 or 4].
        after: The result, of the same shape and type.
    """

    time: Fraction
    before: Pixels
    after: Pixels

    def at_detail(self, detail: float) -> Pixels:
        """Return what ``detail`` would give where frames are blended, for a preview that was opened without it."""
        if not 0 <= detail <= 1:
            raise OptionError(f"detail is {detail}: give 0 to 1")
        mixed: Any = np.rint(self.before + detail * (self.after.astype(np.float32) - self.before))
        return mixed.astype(self.after.dtype)


class Preview:
    """A clip with a loaded model. Opened by `open_preview`.

    Attributes:
        info: Facts of the clip.
        seconds_per_frame: Of the last look, encoding not counted; None before the first.
    """

    def __init__(self, info: VideoInfo, options: UpscaleOptions, result: FrameStream, enlarged: FrameStream) -> None:
        self.info = info
        self.seconds_per_frame: float | None = None
        self._options, self._result, self._enlarged = options, result, enlarged

    @property
    def estimated_seconds(self) -> float | None:
        """Seconds for all frames of the clip at the speed of the last look; None where one of the two is not known."""
        total = self.info.estimated_frames
        return None if total is None or self.seconds_per_frame is None else total * self.seconds_per_frame

    def frames(self, start: Fraction | float = 0, count: int = 3) -> list[PreviewFrame]:
        """Upscale a few frames.

        Args:
            start: Seconds from the start of the clip; a few frames before it are made, too, and not shown.
            count: How many frames.

        Raises:
            InputError: There are none there, or they cannot be read.
        """
        if count < 1:
            raise OptionError(f"count is {count}: give 1 or more")
        begin = Fraction(start).limit_denominator(1_000_000)
        context = min(_CONTEXT, int(begin * self.info.frame_rate))
        first = begin - context / self.info.frame_rate
        options = replace(self._options, start=first or None)
        reader = open_reader(self.info, options)
        try:
            read = list(islice(reader, context + count))
        finally:
            reader.close()
        if not read:
            raise InputError(f"{self.info.path}: there is no frame at {float(begin):g} s: choose an earlier one")
        began = time.perf_counter()
        after = _through(self._result, [frame.pixels for frame in read])
        self.seconds_per_frame = (time.perf_counter() - began) / len(read)
        before = _through(self._enlarged, [frame.pixels for frame in read])
        shown = [
            PreviewFrame(first + (frame.pts - read[0].pts) * frame.time_base, one, other)
            for frame, one, other in zip(read, before, after, strict=True)
        ]
        return shown[min(context, len(shown) - 1) :]


def _through(stream: FrameStream, frames: list[Pixels]) -> list[Pixels]:
    return [large for frame in frames for large in stream.push(frame)] + stream.cut()


@contextmanager
def open_preview(
    path: str | Path, options: UpscaleOptions | None = None, *, upscaler: Upscaler | None = None, **values: Any
) -> Iterator[Preview]:
    """Open a clip for a look at single frames of its result; the model is loaded once.

    Args:
        path: A video, an image or a folder of images.
        options: As for `starvsr.open_stream`, and those that say how an input is read.
        upscaler: A loaded model; None loads ``options.model``.
        values: Options by name.

    Raises:
        StarVsrError: The clip cannot be read, or an option cannot be honoured.
    """
    from starvsr.families.bicubic import BicubicUpscaler
    from starvsr.options.info import LIMITS, RANGE
    from starvsr.options.job import described

    chosen = options_from({**({} if options is None else options.as_dict()), **values})
    info = probe_input(path, chosen)
    reading = {name for name, _, option in described(UpscaleOptions) if option.group in (LIMITS, RANGE)} | {
        "deinterlace"
    }
    streamed = {name: value for name, value in chosen.changed().items() if name not in reading}
    with ExitStack() as stack:
        size = (info.width, info.height)
        result = stack.enter_context(open_stream(*size, options_from(streamed), upscaler=upscaler))
        plain = {"scale": chosen.scale, "model": "bicubic", "alpha": chosen.alpha}
        bicubic = stack.enter_context(open_stream(*size, options_from(plain), upscaler=BicubicUpscaler()))
        yield Preview(info, chosen, result, bicubic)
