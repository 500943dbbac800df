"""What the output will be: its files, its size, how it is encoded; refused before any work is done."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions

if TYPE_CHECKING:
    from starvsr.video import EncodeOptions, VideoInfo


def check_outputs(info: VideoInfo, out: Path, options: UpscaleOptions) -> None:
    """Refuse outputs that cannot or must not be written, before any work is done."""
    check_places(out, (info.path, *info.files), options)


def check_places(out: Path, inputs: tuple[Path, ...], options: UpscaleOptions) -> None:
    """Refuse an output and what is written beside it by what lies on the disk; knows the inputs by their names alone.

    Raises:
        OptionError, OutputError: what, why and what next.
    """
    from starvsr.video.write.publish import check_output
    from starvsr.video.write.writer import check_target

    check_target(out, inputs=inputs, overwrite=options.overwrite or _was_published(out))
    if options.compare:
        for path in comparison_paths(out):
            check_output(path, inputs=inputs, overwrite=options.overwrite)


def _was_published(out: Path) -> bool:
    """Whether the output, or some of its images, are there already and the job that made them was killed then."""
    from starvsr.jobs.folder import JobFolder, job_path

    folder = JobFolder(job_path(out))
    if not folder.journal.exists():
        with contextlib.suppress(OSError):
            folder.path.rmdir()  # if it is empty, only its own removal was cut short
        return False
    from starvsr.jobs.published import is_half_published, is_published
    from starvsr.video.patterns import is_pattern

    return is_published(folder, out) or (is_pattern(out) and is_half_published(folder, out))


def comparison_paths(out: Path) -> tuple[Path, Path]:
    """Return where the before/after picture and the side-by-side video of an output go."""
    from starvsr.video.patterns import is_pattern, pattern_head
    from starvsr.video.write.file_names import fitting

    stem = pattern_head(out.name) if is_pattern(out) else out.stem if out.suffix else out.name
    picture, video = (fitting(out, stem, after=f"_compare{suffix}") for suffix in (".png", ".mp4"))
    return picture, video


def encode_options(options: UpscaleOptions) -> EncodeOptions:
    """Return the writer's part of the options."""
    from starvsr.video import EncodeOptions

    return EncodeOptions(
        codec=options.codec,
        crf=options.crf,
        preset=options.preset,
        pixel_format=options.pixel_format,
        alpha=options.alpha,
        missing_streams=options.missing_streams,
        threads=options.threads,
    )


def is_images(out: Path) -> bool:
    """Whether an output is an image, a numbered pattern or a folder of images."""
    from starvsr.video.patterns import is_pattern
    from starvsr.video.write.containers import IMAGE_OUTPUTS

    return is_pattern(out) or out.suffix.lower() in IMAGE_OUTPUTS


def check_encoding(info: VideoInfo, out: Path, width: int, height: int, options: UpscaleOptions) -> str:
    """Refuse encoder settings that contradict each other, the container or the size; describe what is chosen."""
    from starvsr.video.write.constant_rate import check_constant_rate
    from starvsr.video.write.containers import container_of
    from starvsr.video.write.encoders import plan_encoding
    from starvsr.video.write.output_format import holds_one, is_still_output

    if is_still_output(out):
        for name in ("crf", "preset", "pixel_format"):
            if getattr(options, name) is not None:
                raise OptionError(f"{out}: images have no --{name.replace('_', '-')}: leave it out")
        is_part = options.start is not None or options.duration is not None
        if holds_one(out) and (info.num_frames or 1) > 1 and not is_part:
            raise OptionError(f"{out.name} holds one image, the input more; write a folder or a video")
        return "images"
    plan = plan_encoding(
        out.name,
        container_of(out.name, out.suffix),
        width=width,
        height=height,
        source=info,
        has_alpha=info.has_alpha,
        bit_depth=info.bit_depth,
        options=encode_options(options),
    )
    if container_of(out.name, out.suffix) == "avi" and not options.isolate:
        check_constant_rate(info, out.name)
    return f"{plan.codec}, {plan.pixel_format}, {plan.color.describe()}"


def out_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return (width, height) of the output: each side times the scale, rounded to whole pixels."""
    exact = Fraction(str(scale))
    return max(1, round(width * exact)), max(1, round(height * exact))


def size_of(info: VideoInfo, out: Path, options: UpscaleOptions) -> tuple[int, int]:
    """Return (width, height) of the output in pixels as they are stored; the shape of the pixels stays the input's.

    A width that was asked for is that of the picture as it is shown, which differs where pixels are not square. The
    side that follows from the aspect is even in videos, as most players need it.
    """
    if options.target is None:
        return out_size(info.width, info.height, options.scale)
    _, width, height = options.target
    factor = enlargement(info, options)
    step = 1 if is_images(out) else 2
    across = _nearest(info.width * factor, step)
    down = _nearest(info.height * factor, step)
    if width is None:
        return across, options.height or down
    if height is None:
        return (width if info.sample_aspect_ratio == 1 else across), down
    while across > step and across * info.sample_aspect_ratio > width:
        across -= step
    while down > step and down > height:
        down -= step
    return across, down


def enlargement(info: VideoInfo, options: UpscaleOptions) -> Fraction:
    """Return how many times larger the picture becomes by ``options``, exactly: what a model has to reach."""
    if options.target is None:
        return Fraction(str(options.scale))
    _, width, height = options.target
    return _factor(info, width, height)


def _factor(info: VideoInfo, width: int | None, height: int | None) -> Fraction:
    """Return how many times larger the picture becomes, exactly."""
    factors = []
    if width is not None:
        factors.append(width / (info.width * Fraction(info.sample_aspect_ratio or 1)))
    if height is not None:
        factors.append(Fraction(height, info.height))
    return min(factors)


def _nearest(length: Fraction, step: int) -> int:
    return max(step, round(length / step) * step)


def check_enlargement(info: VideoInfo, options: UpscaleOptions, model: str, most: int) -> None:
    """Refuse an output that is larger than the model makes it.

    Raises:
        OptionError: so it is; says what is possible.
    """
    if options.target is None:
        if options.scale > most:
            raise OptionError(f"model {model} enlarges {most} times at most: give a smaller --scale")
        return
    words, width, height = options.target
    factor = _factor(info, width, height)
    if factor <= most:
        return
    shown = int(info.width * Fraction(info.sample_aspect_ratio or 1) * most)
    if height is None:
        possible = f"--width {shown}"
    elif width is None:
        possible = f"--height {info.height * most}"
    else:
        possible = f"--fit {shown}x{info.height * most}"
    raise OptionError(
        f"{info.path}: {words} would make its {info.width}x{info.height} pixels {float(factor):.3g} times larger, and "
        f"model {model} enlarges {most} times at most: give {possible} or less"
    )
