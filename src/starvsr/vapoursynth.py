"""A VapourSynth filter: `upscale` a clip in a script, a previewer or ``vspipe``.

    import vapoursynth as vs
    from starvsr.vapoursynth import upscale

    clip = source.resize.Bicubic(format=vs.RGBS, matrix_in_s="709")
    upscale(clip, model="star-small", scale=2).set_output()

VapourSynth (LGPL) is not installed with this package: ``pip install vapoursynth``, or the installer of its site.

The filter is three nodes. One gives, for each segment, its enlarged frames below each other in one tall frame; it asks
for all frames that the model looks at, so the core schedules them and nothing waits inside a callback. Its cache is the
only memory of the filter. The next node takes a frame out of it, blends, and finishes it; the last copies properties.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from operator import index
from typing import TYPE_CHECKING, Any

from starvsr.errors import InputError, OptionError
from starvsr.families.options import UpscaleOptions, options_from
from starvsr.jobs.in_memory import FramesJob, prepare_frames

if TYPE_CHECKING:
    from starvsr.engine.random_access import Place, SegmentIndex
    from starvsr.engine.render import U16Frames
    from starvsr.engine.upscaler import Upscaler

_TOP = 65535


def upscale(
    clip: Any,
    options: UpscaleOptions | None = None,
    *,
    upscaler: Upscaler | None = None,
    cuts: Collection[int] | None = None,
    cache: int = 2,
    **values: Any,
) -> Any:
    """Upscale a VapourSynth clip.

    Frames may be asked for in any order and by several threads; a frame has the same pixels in each case. A frame
    outside the segments in the cache costs one segment: ``segment`` frames, and the context of the model before and
    after them; two segments where they are blended (``crossfade``). A smaller ``segment`` makes seeking cheaper and
    encoding dearer.

    Args:
        clip: ``vapoursynth.VideoNode`` of format RGBS or RGBH, of one size, progressive; gamma-encoded, 0 to 1.
        options: All options; or give single ones by name: ``upscale(clip, model="star-small", scale=2)``. Options of
            files are refused.
        upscaler: A loaded model (`starvsr.load_upscaler`), to share it among filters; None loads ``options.model``.
        cuts: First frames of scenes, as a job of the same video would find them. None: scenes begin where the frame
            properties ``_SceneChangePrev`` and ``_SceneChangeNext`` say so, which filters such as ``misc.SCDetect``
            set, unless ``scene_cuts=False``.
        cache: Finished segments that are kept, 1 or more.
        values: Options by name.

    Returns:
        ``vapoursynth.VideoNode`` of the same format, length, frame rate and frame properties; an ``_Alpha`` property,
        which would have another size than its frame, is left out.

    Raises:
        InputError: The clip has another format or no fixed size; in a frame: it is interlaced.
        OptionError: An option cannot be honoured, or VapourSynth is not installed.
        StarVsrError: The model cannot be loaded, or memory is too small.
    """
    try:
        import vapoursynth as vs
    except ImportError as error:
        raise OptionError("the package vapoursynth is not installed here: pip install vapoursynth") from error
    from starvsr.engine.random_access import SegmentIndex
    from starvsr.engine.segments import plan_segments

    _check_clip(vs, clip)
    if cache < 1:
        raise OptionError(f"cache is {cache}: give 1 or more segments")
    chosen = options_from({**({} if options is None else options.as_dict()), **values})
    job = prepare_frames(clip.width, clip.height, chosen, upscaler=upscaler, values=values, num_frames=clip.num_frames)
    plan = job.render.plan
    segments = plan_segments(
        clip.num_frames,
        plan.length,
        plan.overlap,
        plan.crossfade,
        _checked_cuts(cuts, clip.num_frames),
        plan.overlap_after,
        plan.multiple,
    )
    work = _Work(job, SegmentIndex(segments), reads_cuts=cuts is None and job.options.scene_cuts)
    stacks = _stacks_node(vs, clip, work, cache)
    return _frames_node(vs, clip, stacks, work)


def _check_clip(vs: Any, clip: Any) -> None:
    if not isinstance(clip, vs.VideoNode):
        raise InputError(f"upscale takes a VapourSynth clip, not {type(clip).__name__}: give a VideoNode")
    form = clip.format
    if form is None or not clip.width or not clip.height:
        raise InputError(
            "the clip changes its format or size: bring it to one, as with resize.Bicubic(width=, height=)"
        )
    if form.id in (vs.RGBS, vs.RGBH):
        return
    matrix = "" if form.color_family == vs.RGB else ', matrix_in_s="709"'
    raise InputError(
        f"the clip is {form.name} and the filter takes RGBS or RGBH: convert it, as with "
        f"clip.resize.Bicubic(format=vs.RGBS{matrix})"
    )


def _checked_cuts(cuts: Collection[int] | None, num_frames: int) -> list[int]:
    checked = []
    for cut in () if cuts is None else cuts:
        frame = -1 if isinstance(cut, (bool, str, float)) else index(cut)
        if not 0 <= frame < num_frames:
            raise OptionError(f"cuts holds {cut!r}: give frames of the clip, 0 to {num_frames - 1}")
        checked.append(frame)
    return checked


def _stacks_node(vs: Any, clip: Any, work: _Work, cache: int) -> Any:
    """Return a clip of a frame for each segment: its enlarged frames below each other."""
    segments, scale = work.index.segments, work.job.render.settings.scale
    tallest = max(segment.keep_stop + segment.fade_after - _first(segment) for segment in segments)
    blank = vs.core.std.BlankClip(
        width=scale * clip.width,
        height=scale * clip.height * tallest,
        format=vs.RGB48,
        length=len(segments),
        keep=True,
    )
    longest = max(segment.num_frames for segment in segments)
    looked_at = [
        _picked(clip, [min(segment.start + place, segment.stop - 1) for segment in segments])
        for place in range(longest)
    ]
    stacks = vs.core.std.ModifyFrame(blank, [blank, *looked_at], work.render)
    vs.core.std.SetVideoCache(stacks, mode=1, fixedsize=1, maxsize=cache)
    return stacks


def _frames_node(vs: Any, clip: Any, stacks: Any, work: _Work) -> Any:
    """Return the clip of finished frames."""
    places = [work.index.place(frame) for frame in range(clip.num_frames)]
    blank = vs.core.std.BlankClip(clip, width=work.job.width, height=work.job.height, keep=True)
    sources = [blank, clip, _picked(stacks, [place.segment for place in places])]
    if any(place.later is not None for place in places):
        sources.append(_picked(stacks, [place.segment if place.later is None else place.later for place in places]))
    finished = vs.core.std.ModifyFrame(blank, sources, work.finish)
    return vs.core.std.RemoveFrameProps(vs.core.std.CopyFrameProps(finished, clip), ["_Alpha"])


def _picked(clip: Any, frames: Sequence[int]) -> Any:
    """Return the clip of these frames of a clip, in this order."""
    if clip.num_frames == 1:  # too few for SelectEvery
        return clip.std.Loop(times=len(frames))
    return clip.std.SelectEvery(cycle=clip.num_frames, offsets=frames, modify_duration=False)


def _first(segment: Any) -> int:
    return int(segment.keep_start - segment.fade_before)


class _Work:
    """The callbacks of a filter, with the model at work; the model is let go when the core drops the filter.

    Args:
        job: The model and how frames are upscaled.
        index: The segments.
        reads_cuts: Whether frame properties say where scenes begin.
    """

    def __init__(self, job: FramesJob, index: SegmentIndex, *, reads_cuts: bool) -> None:
        self.job, self.index = job, index
        self._reads_cuts = reads_cuts
        self._lock = threading.Lock()  # a session is used by one thread at a time
        stack = ExitStack()
        self._session = stack.enter_context(job.upscaler.open(job.render.settings, job.render.plan))
        weakref.finalize(self, stack.close)

    def render(self, n: int, f: list[Any]) -> Any:
        """Render a segment: the callback of a frame of ``stacks``."""
        from starvsr.engine.processor import processor_threads
        from starvsr.engine.random_access import render_segment

        segment = self.index.segments[n]
        looked_at = f[1 : 1 + segment.num_frames]
        for place, frame in enumerate(looked_at):
            if frame.props.get("_FieldBased", 0):
                raise InputError(f"frame {segment.start + place} is interlaced: deinterlace the clip first")
        cuts = _cuts_of(looked_at, segment.start) if self._reads_cuts else ()
        frames = [_codes(frame) for frame in looked_at]
        with self._lock, processor_threads(self.job.options.threads):
            made = render_segment(self._session, self.job.render, segment, frames, cuts, self.job.upscaler.device)
        return _stacked(made, f[0])

    def finish(self, n: int, f: list[Any]) -> Any:
        """Finish a frame: the callback of a frame of the output."""
        import numpy as np
        import torch

        place = self.index.place(n)
        with torch.inference_mode():
            pixels = self.job.finish(self._codes_at(place, f), _codes(f[1]))
        out = f[0].copy()
        for plane in range(3):
            view = np.asarray(out[plane])
            view[:] = pixels[..., plane].astype(np.float32) / np.float32(_TOP)
        return out

    def _codes_at(self, place: Place, f: list[Any]) -> U16Frames:
        from starvsr.engine.render import blend

        height = self.job.render.settings.scale * self.job.render.plan.grid.height
        codes = _from_stack(f[2], place.position, height)
        if place.later is None:
            return codes
        later = _from_stack(f[3], place.later_position, height)
        return blend(codes, later, place.fade_position, place.fade_length)


def _cuts_of(frames: Sequence[Any], first: int) -> set[int]:
    """Return where scenes begin, by the properties of frames that begin with frame ``first`` of the clip."""
    cuts = set()
    for number, frame in enumerate(frames, first):
        if frame.props.get("_SceneChangePrev", 0):
            cuts.add(number)
        if frame.props.get("_SceneChangeNext", 0):
            cuts.add(number + 1)
    return cuts


def _codes(frame: Any) -> U16Frames:
    """Turn a frame of floats 0..1 into uint16 [h, w, 3] over 0..65535; what lies outside is cut, NaN is 0."""
    import numpy as np

    pixels = np.stack([np.asarray(frame[plane], dtype=np.float32) for plane in range(3)], axis=-1)
    codes: U16Frames = np.rint(np.nan_to_num(pixels).clip(0, 1) * np.float32(_TOP)).astype(np.uint16)
    return codes


def _stacked(frames: Sequence[U16Frames], blank: Any) -> Any:
    """Put frames [H, W, 3] into a tall one, from the top."""
    import numpy as np

    out = blank.copy()
    for plane in range(3):
        view, top = np.asarray(out[plane]), 0
        for frame in frames:
            view[top : top + len(frame)] = frame[..., plane]
            top += len(frame)
    return out


def _from_stack(stack: Any, position: int, height: int) -> U16Frames:
    """Return one frame [H, W, 3] of a tall frame."""
    import numpy as np

    rows = slice(position * height, (position + 1) * height)
    return np.stack([np.asarray(stack[plane])[rows] for plane in range(3)], axis=-1)
