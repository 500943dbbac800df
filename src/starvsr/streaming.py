"""Upscaling frames in memory: `stream` for an iterable of them, `open_stream` to push them one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from starvsr.engine.processor import processor_threads
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions, options_from
from starvsr.jobs.in_memory import prepare_frames

if TYPE_CHECKING:
    from starvsr.engine.frame_stream import FrameStream
    from starvsr.engine.render import Pixels

SEGMENT = 8
"""Frames that are upscaled together unless ``segment`` says otherwise: fewer wait less, and cost more context."""


def stream(
    frames: Iterable[Pixels], options: UpscaleOptions | None = None, *, upscaler: Upscaler | None = None, **values: Any
) -> Iterator[Pixels]:
    """Upscale frames as they come, holding no more of them than a segment and its context.

    Args:
        frames: uint8 or uint16 [h, w, 3 or 4], full range, of one size and type.
        options: As for `open_stream`.
        upscaler: A loaded model; None loads ``options.model``.
        values: Options by name: ``stream(frames, model="star-small", scale=2, segment=4)``.

    Yields:
        An enlarged frame [H, W, 3 or 4] of the same type for each frame, in order.

    Raises:
        StarVsrError: An option cannot be honoured, or a frame has another size than the first.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        return
    height, width = first.shape[:2]
    with open_stream(width, height, options, upscaler=upscaler, **values) as opened:
        for frame in chain([first], source):
            yield from opened.push(frame)
        yield from opened.finish()


@contextmanager
def open_stream(
    width: int,
    height: int,
    options: UpscaleOptions | None = None,
    /,
    *,
    upscaler: Upscaler | None = None,
    **values: Any,
) -> Iterator[FrameStream]:
    """Open a stream that frames are pushed into.

    ``push(frame)`` gives the enlarged frames that are ready, ``cut()`` begins a new scene, ``finish()`` gives the rest;
    ``latency`` says how many frames must follow a frame before it is handed out: ``segment`` - 1, and the frames that
    the model looks ahead. Scenes are not found: without ``cut()`` frames of two scenes may be seen together.

    Args:
        width: Of the frames pushed, in pixels.
        height: Of the frames pushed, in pixels.
        options: Of the model, the picture, memory and cuts; the size by ``scale``.
        upscaler: A loaded model; None loads ``options.model``.
        values: Options by name; ``segment`` is 8 unless it is given.

    Raises:
        OptionError: An option cannot be honoured, or has no use for frames in memory.
        ResourceError: There is not enough memory.
    """
    from starvsr.engine.frame_stream import FrameStream

    chosen = options_from({**({} if options is None else options.as_dict()), **values})
    if not chosen.scene_cuts:
        raise OptionError("--scene-cuts has no use for frames in memory: leave it out")
    if chosen.segment == "auto":
        chosen = options_from({**chosen.as_dict(), "segment": SEGMENT})
    job = prepare_frames(width, height, chosen, upscaler=upscaler, values=values, channels=4)
    with processor_threads(job.options.threads), job.upscaler.open(job.render.settings, job.render.plan) as session:
        yield FrameStream(session, job.render, job.finish, job.upscaler.device)
