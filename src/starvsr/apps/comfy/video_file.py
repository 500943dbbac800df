"""A video file through a job, sound and all: what was interrupted goes on when the same is asked for again."""

from __future__ import annotations

import re
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.api import prepare
from starvsr.engine.interruption import cancellable_layers
from starvsr.engine.progress import CancelToken, ProgressCallback, UpscaleResult
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import JobError

FORMATS = ("auto", "mp4", "mkv", "mov", "webm")
CODECS = ("auto", "h264", "hevc", "av1", "vp9", "prores", "ffv1")


def upscale_file(
    source: Path,
    folder: Path,
    name: str,
    suffix: str,
    upscaler: Upscaler,
    values: dict[str, Any],
    *,
    cancel: CancelToken,
    on_progress: ProgressCallback,
) -> UpscaleResult:
    """Upscale a video file into a folder, under the next free number.

    Args:
        source: The input.
        folder: Where the output goes.
        name: Its name begins with it: ``name_00001_.mp4``.
        suffix: Its suffix with the dot.
        upscaler: The loaded model.
        values: Options by name.
        cancel: Looked at between layers of the network; what is finished stays beside the output.
        on_progress: Called often.

    Raises:
        StarVsrError: What, why and what next.
        Cancelled: ``cancel`` was called.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for out in [*_unfinished(folder, name, suffix), _next(folder, name, suffix)]:
        job = prepare(source, out, upscaler=upscaler, **values)
        try:
            with cancellable_layers(cancel) if job.options.compile is None else nullcontext():
                return job.run(on_progress=on_progress, cancel=cancel)
        except JobError:  # an unfinished job of other settings, or one at work: left as it is
            if out == _next(folder, name, suffix):
                raise
    raise AssertionError("not reached")


def times(start: float, duration: float) -> dict[str, Fraction]:
    """Return the options of a part of a video; 0 is the beginning and the whole length."""
    values = {"start": Fraction(start).limit_denominator(1_000_000)} if start > 0 else {}
    if duration > 0:
        values["duration"] = Fraction(duration).limit_denominator(1_000_000)
    return values


def _numbers(folder: Path, name: str) -> list[tuple[int, Path]]:
    """Return numbers in use, with their files and job folders."""
    pattern = re.compile(re.escape(name) + r"_(\d+)_?\..+")
    found = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    return [(int(match[1]), path) for match, path in found if match]


def _next(folder: Path, name: str, suffix: str) -> Path:
    number = max((number for number, _ in _numbers(folder, name)), default=0) + 1
    return folder / f"{name}_{number:05}_{suffix}"


def _unfinished(folder: Path, name: str, suffix: str) -> list[Path]:
    ending = f"{suffix}.job"
    jobs = [path for _, path in sorted(_numbers(folder, name)) if path.name.endswith(ending) and path.is_dir()]
    return [out for out in (path.with_name(path.name.removesuffix(".job")) for path in jobs) if not out.exists()]
