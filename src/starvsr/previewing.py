"""A look at a few frames, or seconds, before the whole is done, with one loaded model: `open_preview`."""

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

from starvsr.api import prepare
from starvsr.engine.progress import CancelToken, Progress, ProgressCallback
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import InputError, OptionError
from starvsr.families.bicubic import BicubicUpscaler
from starvsr.families.loading import load_for
from starvsr.families.options import UpscaleOptions, options_from
from starvsr.jobs.counting import computed
from starvsr.jobs.inputs import open_reader, probe_input
from starvsr.jobs.job import Job
from starvsr.jobs.prompts.request import Prompts
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


@dataclass(frozen=True)
class PreviewClip:
    """A few seconds before and after: two videos with the same frames at the same times.

    Attributes:
        before: The bicubic enlargement, as large as the result: MP4 of 8 bits.
        after: The result, as the whole job writes it, with the sound of the part.
        start: Seconds from the start of the clip.
        num_frames: Frames in each of the two.
        seconds: What the result took, opening, encoding and joining counted, loading the model not.
        seconds_per_frame: What each further frame takes.
        estimated_seconds: For the whole; None where its number of frames is not known.
        peak_memory: Largest resident memory of the process meanwhile, in bytes.
    """

    before: Path
    after: Path
    start: Fraction
    num_frames: int
    seconds: float
    seconds_per_frame: float
    estimated_seconds: float | None
    peak_memory: int


class Preview:
    """A clip with a loaded model. Opened by `open_preview`.

    Attributes:
        info: Facts of the clip.
        seconds_per_frame: Of the last look, encoding not counted; None before the first.
    """

    def __init__(
        self,
        info: VideoInfo,
        options: UpscaleOptions,
        result: FrameStream,
        enlarged: FrameStream,
        upscaler: Upscaler,
    ) -> None:
        self.info = info
        self.seconds_per_frame: float | None = None
        self._options, self._result, self._enlarged, self._upscaler = options, result, enlarged, upscaler

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

    def clip(
        self, folder: str | Path, start: Fraction | float = 0, seconds: Fraction | float = 2, **encoding: Any
    ) -> PreviewClip:
        """Upscale a few seconds, as the job does it, into ``before.mp4`` and ``after.mp4`` in a folder.

        Args:
            folder: Made where it is missing; videos of an earlier look are replaced.
            start: Seconds from the start of the clip.
            seconds: How long it is.
            encoding: Options of the result by name, such as ``codec`` and ``crf``.

        Raises:
            StarVsrError: There is nothing there, or an option cannot be honoured.
        """
        options = options_from({**self._options.as_dict(), **encoding})
        Path(folder).mkdir(parents=True, exist_ok=True)
        job = prepare(self.info.path, Path(folder, "after.mp4"), options, upscaler=self._upscaler, overwrite=True)
        made = preview_clip(job, start, seconds)
        self.seconds_per_frame = made.seconds_per_frame
        return made


def preview_clip(
    job: Job,
    start: Fraction | float,
    seconds: Fraction | float,
    *,
    values: dict[str, Any] | None = None,
    on_progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> PreviewClip:
    """Do a few seconds of a job beside its output: ``after`` with its suffix and ``before.mp4``.

    The time for the whole follows from the frames that the model computes, here and there, their context included.

    Args:
        job: The whole job, prepared and not begun.
        start: Seconds from the start of the clip.
        seconds: How long the part is.
        values: Options that differ from the job's, by name.
        on_progress: Told how far the result is.
        cancel: Looked at often.

    Raises:
        StarVsrError: There is nothing there, or an option cannot be honoured.
    """
    begin, length = (Fraction(value).limit_denominator(1_000_000) for value in (start, seconds))
    ranged = {"start": begin or None, "duration": length, "compare": False, "overwrite": True, "restart": True}
    options = options_from({**job.options.as_dict(), **ranged, **(values or {})})
    source, folder = job.info.path, job.out.parent
    part = prepare(
        source, folder / f"after{job.out.suffix}", options, upscaler=job.upscaler, prompts=Prompts(may_ask=False)
    )
    before = 0.0

    def look(progress: Progress) -> None:
        nonlocal before
        before = progress.seconds_before
        if on_progress is not None:
            on_progress(progress)

    result = part.run(on_progress=look, cancel=cancel)
    frames, upscaling = result.num_frames, max(0.0, result.seconds - before)
    whole = None
    if job.num_frames is not None:
        share = computed(job.plan, job.num_frames) / computed(part.plan, frames)
        whole = before + upscaling * max(1.0, share)
    _enlarge(part, folder / "before.mp4", cancel)
    return PreviewClip(
        before=folder / "before.mp4",
        after=part.out,
        start=begin,
        num_frames=frames,
        seconds=result.seconds,
        seconds_per_frame=upscaling / frames,
        estimated_seconds=whole,
        peak_memory=result.peak_memory,
    )


def _enlarge(job: Job, out: Path, cancel: CancelToken | None) -> None:
    """Write the bicubic enlargement of the part that a job reads, as large as its result, for browsers."""
    from starvsr.options.info import LIMITS, RANGE
    from starvsr.options.job import described
    from starvsr.video import probe
    from starvsr.video.playable import plays_anywhere, write_playable
    from starvsr.video.untrusted.limits import OWN_FILES

    kept = {"deinterlace", "overwrite", "restart", "threads", "scale", "height", "width", "fit"}
    names = {name for name, _, option in described(UpscaleOptions) if option.group in (LIMITS, RANGE)} | kept
    given = {name: value for name, value in job.options.changed().items() if name in names}
    is_even = job.width % 2 == 0 and job.height % 2 == 0  # other sizes are none for H.264 in browsers
    coding = {"codec": "libx264", "preset": "veryfast"} if is_even else {"codec": "libvpx-vp9"}
    fixed: dict[str, Any] = {"crf": 12, "pixel_format": "yuv420p", "alpha": "drop" if job.info.has_alpha else "keep"}
    options = options_from({**given, **coding, **fixed, "model": "bicubic"})
    prepare(job.info.path, out, options, upscaler=BicubicUpscaler()).run(cancel=cancel)
    made = probe(out, limits=OWN_FILES)
    if not plays_anywhere(made):  # its pictures are right, so it is the sound that came along
        write_playable(made, out.with_name("before-silent"), sound=False, isolate=False).path.replace(out)


def _through(stream: FrameStream, frames: list[Pixels]) -> list[Pixels]:
    return [large for frame in frames for large in stream.push(frame)] + stream.cut()


@contextmanager
def open_preview(
    path: str | Path, options: UpscaleOptions | None = None, *, upscaler: Upscaler | None = None, **values: Any
) -> Iterator[Preview]:
    """Open a clip for a look at single frames of its result, or at a few seconds; the model is loaded once.

    Args:
        path: A video, an image or a folder of images.
        options: As for `starvsr.open_stream`, and those that say how an input is read.
        upscaler: A loaded model; None loads ``options.model``.
        values: Options by name.

    Raises:
        StarVsrError: The clip cannot be read, or an option cannot be honoured.
    """
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
        loaded = upscaler or load_for(chosen)
        result = stack.enter_context(open_stream(*size, options_from(streamed), upscaler=loaded))
        plain = {"scale": chosen.scale, "model": "bicubic", "alpha": chosen.alpha}
        bicubic = stack.enter_context(open_stream(*size, options_from(plain), upscaler=BicubicUpscaler()))
        yield Preview(info, chosen, result, bicubic, loaded)
