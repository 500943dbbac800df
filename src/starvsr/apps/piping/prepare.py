"""A job whose frames come from, or go to, a pipe: its input, what is written, its model and its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.api import UpscaleJob, plan_job
from starvsr.errors import OptionError
from starvsr.families.loading import load_for
from starvsr.families.options import UpscaleOptions, default_of
from starvsr.jobs.executors import first_device, worker_devices
from starvsr.jobs.inputs import open_reader, probe_input, refuse_sizes, refuse_unused
from starvsr.jobs.outputs import size_of
from starvsr.jobs.prompts.request import Prompts, source_told
from starvsr.options import flag_name
from starvsr.video.pipes.descriptor import STANDARD_OUTPUT
from starvsr.video.pipes.formats import NUT, PipeFormat, plan_pipe

if TYPE_CHECKING:
    from starvsr.engine.upscaler import Upscaler
    from starvsr.jobs.prompts.prompt import Prompt
    from starvsr.video import VideoInfo, VideoReader
    from starvsr.video.pipes.descriptor import DescriptorReader
    from starvsr.video.pipes.reader import PipeReader
    from starvsr.video.pipes.sound import Sound
    from starvsr.video.untrusted.isolation.piped import IsolatedPipeReader

    AnyPipeReader = PipeReader | IsolatedPipeReader

OUT = Path(STANDARD_OUTPUT)
_NO_USE = ("codec", "crf", "preset", "missing_streams", "compare", "restart", "caption", "caption_timeout")
"""Options of files and their jobs."""
_NO_TEXT = ("prompt_from",)
"""Options of inputs that have a name."""


@dataclass(frozen=True)
class PipedJob:
    """A job without files.

    Attributes:
        job: What is done.
        reader: Its input.
        form: What is written.
        stop: Called before the thread that reads is waited for: gives up reading a pipe.
        sound: The sound that is copied; None for none.
    """

    job: UpscaleJob
    reader: VideoReader
    form: PipeFormat
    stop: Callable[[], None] = lambda: None
    sound: Sound | None = None


def prepare_piped(
    source: Path | DescriptorReader,
    container: str,
    options: UpscaleOptions,
    *,
    upscaler: Upscaler | None = None,
    note: Callable[[str], None],
) -> PipedJob:
    """Open the input, decide what is written, load the model, make the plan. Writes nothing.

    Args:
        source: A file, or the pipe that is read.
        container: ``y4m`` or ``nut``.
        options: What the user asked for.
        upscaler: A loaded model; None loads ``options.model``.
        note: Called with what the user should know.

    Raises:
        StarVsrError: The input cannot be read, or an option not be honoured.
    """
    _refuse(_NO_USE, options, "is for files and has no use in a pipe")
    if isinstance(source, Path):
        info = probe_input(source, options)
        refuse_unused(info, options)
        refuse_sizes(info, options)
        prompt = Prompts().for_job(source, info, OUT, options, upscaler)
        return _planned(info, container, options, upscaler, prompt, note, None)
    _refuse(_NO_TEXT, options, "needs the name of a file, which a pipe has not: give --prompt")
    reader = open_pipe(source, options, wants_sound=container == NUT)
    try:
        refuse_unused(reader.info, options)
        return _planned(reader.info, container, options, upscaler, None, note, reader)
    except BaseException:
        reader.close()
        raise


def open_pipe(source: DescriptorReader, options: UpscaleOptions, *, wants_sound: bool) -> AnyPipeReader:
    """Open a pipe as the options say; a decoder in a process of its own hands no sound on."""
    kind: Callable[..., AnyPipeReader]
    if options.isolate:
        from starvsr.video.untrusted.isolation.piped import IsolatedPipeReader

        kind = IsolatedPipeReader
    else:
        from starvsr.video.pipes.reader import PipeReader

        kind = partial(PipeReader, wants_sound=wants_sound)
    return kind(
        source,
        start=options.start,
        duration=options.duration,
        deinterlace=options.deinterlace,
        on_corrupt=options.on_corrupt,
        frame_rate=options.frame_rate,
        limits=options.limits,
    )


def _planned(
    info: VideoInfo,
    container: str,
    options: UpscaleOptions,
    upscaler: Upscaler | None,
    prompt: Prompt | None,
    note: Callable[[str], None],
    reader: AnyPipeReader | None,
) -> PipedJob:
    width, height = size_of(info, OUT, options)
    drop = options.alpha == "drop"
    form = plan_pipe(info, container, width, height, pixel_format=options.pixel_format, drop_alpha=drop)
    for text in form.notes:
        note(text)
    if upscaler is None:
        with source_told(prompt):
            device = first_device(options) if options.devices else None
            upscaler = load_for(options, device, first_prompt=None if prompt is None else prompt.text)
    if options.devices or options.processes:
        worker_devices(options, upscaler)
    job = plan_job(info, OUT, (width, height), form.describe(), options, upscaler, prompt, {})
    if job.traits.lengths.whole:
        raise OptionError(
            f"model {upscaler.name} must see the whole clip with these options, and a pipe shows a part of it at a "
            "time: write the result to a file"
        )
    if reader is not None:
        return PipedJob(job, reader, form, reader.stop, _sound_of_pipe(reader, container, note))
    sound = _sound_of_file(info, container, options, note)
    return PipedJob(job, open_reader(info, options), form, sound=sound)


def _sound_of_pipe(reader: VideoReader, container: str, note: Callable[[str], None]) -> Sound | None:
    from starvsr.video.pipes.reader import PipeReader
    from starvsr.video.pipes.sound import sound_of_pipe

    if container != NUT or not isinstance(reader, PipeReader):
        _tell_lost_streams(reader.info, container, note, has_sound=False)
        return None
    _tell_lost_streams(reader.info, container, note, has_sound=True)
    return sound_of_pipe(reader.opened, reader.info)


def _sound_of_file(
    info: VideoInfo, container: str, options: UpscaleOptions, note: Callable[[str], None]
) -> Sound | None:
    from starvsr.video.pipes.sound import sound_of_file

    is_part = options.start is not None or options.duration is not None
    has_sound = container == NUT and not options.isolate and not is_part and not info.clock_steps
    _tell_lost_streams(info, container, note, has_sound=has_sound)
    return sound_of_file(info) if has_sound else None


def _tell_lost_streams(info: VideoInfo, container: str, note: Callable[[str], None], *, has_sound: bool) -> None:
    """Name what is in the input and not in the pipe."""
    kept = {"video", "audio"} if has_sound else {"video"}
    lost = sorted({stream.kind for stream in info.streams if stream.kind not in kept})
    if lost:
        hint = "; --pipe-format nut copies the sound" if container != NUT and "audio" in lost else ""
        note(f"{STANDARD_OUTPUT}: without {', '.join(lost)}{hint}")


def _refuse(names: tuple[str, ...], options: UpscaleOptions, why: str) -> None:
    """Refuse options.

    Raises:
        OptionError: One was given.
    """
    for name in names:
        if getattr(options, name) != default_of(name):
            raise OptionError(f"{flag_name(name)} {why}: leave it out")
