"""What the output will be: its files, its size, how it is encoded; refused before any work is done."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.errors import OptionError
from starvsr.pipelines.options import UpscaleOptions

if TYPE_CHECKING:
    from starvsr.video import EncodeOptions, VideoInfo


def check_outputs(info: VideoInfo, out: Path, options: UpscaleOptions) -> None:
    """Refuse outputs that cannot or must not be written, before any work is done."""
    from starvsr.video.images import is_pattern
    from starvsr.video.output_files import check_output

    inputs = (info.path, *info.files)
    target = out.parent if is_pattern(out) else out
    check_output(target, inputs=inputs, overwrite=options.overwrite or _was_published(out, target))
    if options.compare:
        for path in comparison_paths(out):
            check_output(path, inputs=inputs, overwrite=options.overwrite)


def _was_published(out: Path, target: Path) -> bool:
    """Whether the output is there already and the job that made it was killed while it tidied up."""
    from starvsr.pipelines.jobs.folder import JobFolder, job_path

    folder = JobFolder(job_path(out))
    if not folder.journal.exists():
        with contextlib.suppress(OSError):
            folder.path.rmdir()  # if it is empty, only its own removal was cut short
        return False
    from starvsr.pipelines.jobs.work import is_published

    return is_published(folder, target)


def comparison_paths(out: Path) -> tuple[Path, Path]:
    """Return where the before/after picture and the side-by-side video of an output go."""
    from starvsr.video.images import is_pattern

    base = out.parent if is_pattern(out) else out
    stem = base.stem if base.suffix else base.name
    return base.with_name(f"{stem}_compare.png"), base.with_name(f"{stem}_compare.mp4")


def encode_options(options: UpscaleOptions) -> EncodeOptions:
    """Give the writer's part of the options."""
    from starvsr.video import EncodeOptions

    return EncodeOptions(
        codec=options.codec,
        crf=options.crf,
        preset=options.preset,
        pixel_format=options.pixel_format,
        alpha=options.alpha,
        missing_streams=options.missing_streams,
    )


def check_encoding(info: VideoInfo, out: Path, width: int, height: int, options: UpscaleOptions) -> str:
    """Refuse encoder settings that contradict each other, the container or the size; describe what is chosen."""
    from starvsr.video.constant_rate import check_constant_rate
    from starvsr.video.containers import container_of
    from starvsr.video.encoders import plan_encoding
    from starvsr.video.images import is_pattern

    if is_pattern(out) or out.suffix.lower() in ("", ".png", ".jpg", ".jpeg"):
        for name in ("crf", "preset", "pixel_format"):
            if getattr(options, name) is not None:
                raise OptionError(f"{out}: images have no --{name.replace('_', '-')}: leave it out")
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
