"""Upscaling frames in memory: `stream` for an iterable of them, `open_stream` to push them one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

from starvsr.engine.chunk_plan import PlanInput, Sizes
from starvsr.engine.processor import processor_threads
from starvsr.engine.segment_task import RenderSettings
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import OptionError
from starvsr.families.job_settings import blended_detail, complete_options, job_settings
from starvsr.families.loading import load_for
from starvsr.families.options import UpscaleOptions, option_infos, options_from
from starvsr.jobs.outputs import out_size
from starvsr.options import flag_name
from starvsr.options.info import FILE, LIMITS, RANGE

if TYPE_CHECKING:
    from starvsr.engine.frame_stream import FrameStream
    from starvsr.engine.render import Pixels

SEGMENT = 8
"""Frames that are upscaled together unless ``segment`` says otherwise: fewer wait less, and cost more context."""
_NO_USE = frozenset({"height", "width", "fit", "deinterlace", "devices", "processes", "on_error", "scene_cuts"})


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
    from starvsr.engine.render import Finish

    chosen = options_from({**({} if options is None else options.as_dict()), **values})
    if chosen.segment == "auto":
        chosen = options_from({**chosen.as_dict(), "segment": SEGMENT})
    _refuse_unused(chosen)
    if upscaler is None:
        upscaler = load_for(chosen)
    chosen = complete_options(upscaler, chosen, values)
    settings, traits = job_settings(upscaler, chosen, Fraction(str(chosen.scale)))
    if traits.lengths.whole:
        raise OptionError(f"model {upscaler.name} must see the whole clip with these options: use `upscale`")
    out_width, out_height = out_size(width, height, chosen.scale)
    sizes = Sizes(height, width, settings.scale, out_height, out_width, sample_bytes=2, channels=4)
    plan = upscaler.plan(PlanInput(sizes, chosen, None, None), settings)
    finish = Finish(
        out_width,
        out_height,
        chosen.color or traits.color,
        keep_alpha=chosen.alpha == "keep",
        detail=blended_detail(upscaler, chosen),
    )
    with processor_threads(chosen.threads), upscaler.open(settings, plan) as session:
        yield FrameStream(session, RenderSettings(plan, settings, traits), finish, upscaler.device)


def _refuse_unused(options: UpscaleOptions) -> None:
    """Refuse options of files, which frames in memory have no use for.

    Raises:
        OptionError: One was given.
    """
    groups = {name: info.group for name, info in option_infos()}
    for name in options.changed():
        if name != "alpha" and (name in _NO_USE or groups[name] in (FILE, RANGE, LIMITS)):
            raise OptionError(f"{flag_name(name)} has no use for frames in memory: leave it out")
