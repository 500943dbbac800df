"""Probe inputs and open them as the options say: which part, which limits, in which process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions

if TYPE_CHECKING:
    from starvsr.video import VideoInfo, VideoReader


def probe_input(path: str | Path, options: UpscaleOptions) -> VideoInfo:
    """Probe an input.

    Raises:
        InputError: It cannot be read, or asks for more than the limits allow.
    """
    if options.isolate:
        from starvsr.video.untrusted.isolation.parent import probe_isolated

        return probe_isolated(path, frame_rate=options.frame_rate, limits=options.limits)
    from starvsr.video import probe

    return probe(path, frame_rate=options.frame_rate, limits=options.limits)


def refuse_unused(info: VideoInfo, options: UpscaleOptions) -> None:
    """Refuse options that this input has no use for.

    Raises:
        OptionError: such an option was given.
    """
    if options.frame_rate is not None and info.kind == "video" and info.has_timestamps:
        raise OptionError(f"{info.path} has times of its own: leave out --frame-rate")
    if options.deinterlace == "on" and info.kind != "video":
        raise OptionError(f"{info.path} is no video, so there is nothing to deinterlace: leave out --deinterlace")
    if options.alpha == "drop" and not info.has_alpha:
        raise OptionError(f"{info.path} has no transparency: leave out --alpha")


def refuse_sizes(info: VideoInfo, options: UpscaleOptions) -> None:
    """Refuse images of different sizes as one film, where headers tell; images after the chosen part do not count.

    Raises:
        UnreadableInputError: An image has another size than the first one.
    """
    if info.other_size is None:
        return
    index, width, height = info.other_size
    stop = None if options.duration is None else (options.start or 0) + options.duration
    if stop is None or index / info.frame_rate < stop:
        from starvsr.video.read.images import other_size_error

        raise other_size_error(info, index, width, height)


def expected_frames(info: VideoInfo, options: UpscaleOptions) -> int | None:
    """Return how many frames the chosen part has as far as the container tells; None when it does not."""
    total = info.estimated_frames
    if options.start is None and options.duration is None:
        return total
    wanted = None if options.duration is None else max(1, round(options.duration * info.frame_rate))
    if total is None:
        return wanted
    left = max(1, total - round((options.start or 0) * info.frame_rate))
    return left if wanted is None else min(left, wanted)


def open_reader(info: VideoInfo, options: UpscaleOptions) -> VideoReader:
    """Open an input for the part and the way that the options name."""
    if options.isolate:
        from starvsr.video.untrusted.isolation.parent import IsolatedReader

        return IsolatedReader(
            info,
            start=options.start,
            duration=options.duration,
            deinterlace=options.deinterlace,
            on_corrupt=options.on_corrupt,
        )
    from starvsr.video import VideoReader

    return VideoReader(
        info.path,
        start=options.start,
        duration=options.duration,
        deinterlace=options.deinterlace,
        on_corrupt=options.on_corrupt,
        frame_rate=options.frame_rate,
        info=info,
    )


def rehearse_copying(info: VideoInfo, out: Path, options: UpscaleOptions) -> None:
    """With ``isolate``: let another process go through the streams first that this one is going to copy.

    Raises:
        InputError: The other process did not live through it.
    """
    from starvsr.video.write.containers import container_of
    from starvsr.video.write.output_format import is_still_output

    if not options.isolate or info.kind != "video" or is_still_output(out):
        return
    from starvsr.video.untrusted.isolation.parent import rehearse_isolated

    converts_sound = options.missing_streams == "convert"
    rehearse_isolated(info, container_of(out.name, out.suffix), converts_sound=converts_sound)
