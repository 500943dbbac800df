"""A look at a few frames, made by a worker: pictures before and after, and what the whole would take."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from PIL import Image

from starvsr.engine.upscaler import Upscaler
from starvsr.families.options import UpscaleOptions, option_infos, options_from
from starvsr.jobs.job import Job

_SIZES = ("height", "width", "fit")
_NO_USE = frozenset({*_SIZES, "start", "duration", "scene_cuts", "devices", "processes", "on_error"})


def write_preview(job: Job, at: float, count: int) -> dict[str, Any]:
    """Upscale a few frames of a job and write them as ``before-0.png``, ``after-0.png`` and so on.

    Where `--detail` blends the model's result with the enlargement, ``after`` is the model's result alone, so that any
    share of it can be shown by blending the two pictures.

    Args:
        job: The whole job, prepared and not begun; the pictures go where its output would.
        at: Seconds from the start of the clip.
        count: Frames.

    Returns:
        Times of the frames, whether they can be blended, seconds and memory for the whole.

    Raises:
        StarVsrError: There is no frame there, or an option has no use for single frames.
    """
    from starvsr.previewing import open_preview
    from starvsr.video.pixels import to_8_bits

    blends = blends_frames(job.upscaler)
    options = _options_of_frames(job, blends)
    with open_preview(job.info.path, options, upscaler=job.upscaler) as preview:
        shown = preview.frames(Fraction(at), count)
        for index, frame in enumerate(shown):
            for side, pixels in (("before", frame.before), ("after", frame.after)):
                Image.fromarray(to_8_bits(pixels)).save(job.out.parent / f"{side}-{index}.png", compress_level=1)
        pace = preview.seconds_per_frame or 0.0
    height, width = shown[0].after.shape[:2]
    return {
        "times": [float(frame.time) for frame in shown],
        "blends": blends,
        "width": width,
        "height": height,
        "num_frames": len(shown),
        "num_kept": 0,
        "seconds": pace * len(shown),
        "seconds_per_frame": pace,
        "estimated_seconds": None if job.num_frames is None else pace * job.num_frames,
        "memory": job.plan.memory,
        "notes": [],
    }


def blends_frames(upscaler: Upscaler) -> bool:
    """Whether `--detail` blends finished frames; some models honour it in their network."""
    traits = upscaler.traits_for({})
    return "detail" not in traits.accepts | traits.loads


def _options_of_frames(job: Job, blends: bool) -> UpscaleOptions:
    """Return the options of a job that single frames have a use for, with the size as a scale."""
    from starvsr.options.info import FILE

    groups = {name: info.group for name, info in option_infos()}
    unused = _NO_USE | ({"detail"} if blends else set())
    kept = {
        name: value
        for name, value in job.options.changed().items()
        if name not in unused and (groups[name] != FILE or name == "alpha")
    }
    if any(name in job.options.changed() for name in _SIZES):
        kept["scale"] = float(job.scale)
    return options_from(kept)
