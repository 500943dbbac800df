"""Inputs are looked at before they are queued: facts for people, limits, and whether the options can be honoured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starvsr.apps.server.fields import job_options
from starvsr.apps.server.records import JobRecord
from starvsr.apps.server.settings import ServerSettings
from starvsr.errors import LimitError, StarVsrError

_FACTS = ("kind", "container", "codec", "width", "height", "frame_rate", "num_frames", "duration", "has_alpha", "hdr")


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        facts: Of the input.
        size: Width and height of the output.
        num_bytes: Estimate of the output's size.
        container: Suffix of the output: an image's where none was asked for and the input is one.
    """

    facts: dict[str, Any]
    size: tuple[int, int]
    num_bytes: int
    container: str


def facts_of(path: Path, settings: ServerSettings) -> dict[str, Any]:
    """Return the facts of an input, which is read in a process of its own.

    Raises:
        InputError: It cannot be read, or is above a limit.
    """
    from starvsr.families.options import options_from
    from starvsr.jobs.inputs import probe_input

    return _facts(probe_input(path, options_from(settings.limits())))


def _facts(info: Any) -> dict[str, Any]:
    told = info.as_dict()
    facts = {name: told[name] for name in _FACTS}
    if facts["num_frames"] is None:
        facts["num_frames"] = info.estimated_frames
    return {**facts, "sound": any(stream.kind == "audio" for stream in info.streams)}


def check_job(job: JobRecord, out: Path, settings: ServerSettings) -> Checked:
    """Look at the input of a job.

    Raises:
        StarVsrError: It cannot be read, is above a limit, or the options cannot be honoured.
    """
    from starvsr.families.registry import get_entry
    from starvsr.jobs.disk import output_bytes
    from starvsr.jobs.inputs import expected_frames, probe_input, refuse_sizes, refuse_unused
    from starvsr.jobs.outputs import check_encoding, size_of

    limits = settings.limits()
    options = job_options(job.options, limits, device="auto", memory=settings.options.memory, threads=None)
    info = probe_input(Path(job.source), options)
    longest = settings.options.max_length
    if info.duration is not None and info.duration > longest:
        raise LimitError(
            f"{job.name}: lasts {float(info.duration):.0f} s, more than the {float(longest):.0f} s allowed here"
        )
    refuse_unused(info, options)
    refuse_sizes(info, options)
    out = out.with_suffix(_container(job.container, info.kind))
    width, height = size_of(info, out, options)
    most = settings.options.max_output_pixels
    if width * height > most:
        raise LimitError(
            f"{job.name}: {width}x{height} pixels would come out, more than the {most} allowed: give a smaller scale"
        )
    encoding = check_encoding(info, out, width, height, options)
    if job.options.get("scale", 1) > get_entry(options.model).scale:
        raise StarVsrError(f"model {options.model} enlarges {get_entry(options.model).scale} times at most")
    frames = expected_frames(info, options) or 1
    size = int(output_bytes(encoding.split(",")[0], width, height, frames))
    return Checked(_facts(info), (width, height), size, out.suffix)


def _container(asked: str, kind: str) -> str:
    return ".png" if asked == ".mp4" and kind == "image" else asked
