"""Frames in memory, from no file and to none: their options are checked, the model loaded, the plan made."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from starvsr.engine.chunk_plan import PlanInput, Sizes, whole_clip
from starvsr.engine.segment_task import RenderSettings
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import OptionError
from starvsr.families.job_settings import blended_detail, complete_options, job_settings
from starvsr.families.loading import load_for
from starvsr.families.options import UpscaleOptions, option_infos
from starvsr.jobs.outputs import out_size
from starvsr.options import flag_name
from starvsr.options.info import FILE, LIMITS, RANGE

if TYPE_CHECKING:
    from starvsr.engine.render import Finish

_NO_USE = frozenset({"height", "width", "fit", "deinterlace", "devices", "processes", "on_error"})


@dataclass(frozen=True)
class FramesJob:
    """A model, and how frames of one size are upscaled with it.

    Args:
        upscaler: The loaded model.
        options: All options, with what the model was loaded with.
        render: How segments are rendered.
        finish: What is done to each enlarged frame.
        width: Of the result in pixels.
        height: Of the result in pixels.
    """

    upscaler: Upscaler
    options: UpscaleOptions
    render: RenderSettings
    finish: Finish
    width: int
    height: int


def prepare_frames(
    width: int,
    height: int,
    options: UpscaleOptions,
    *,
    upscaler: Upscaler | None = None,
    values: dict[str, Any] | None = None,
    num_frames: int | None = None,
    channels: int = 3,
    sample_bytes: int = 2,
) -> FramesJob:
    """Check options, load the model and make the plan.

    Args:
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        options: Of the model, the picture, memory and cuts; the size by ``scale``.
        upscaler: A loaded model; None loads ``options.model``.
        values: The options that were given by name, even with their default.
        num_frames: Frames in all; None where that is not known, which models that must see the whole clip refuse.
        channels: 3, or 4 with alpha.
        sample_bytes: 1 for uint8 frames, 2 for uint16.

    Raises:
        OptionError: An option cannot be honoured, or has no use for frames in memory.
        ResourceError: There is not enough memory.
    """
    from starvsr.engine.render import Finish

    refuse_file_options(options)
    if upscaler is None:
        upscaler = load_for(options)
    options = complete_options(upscaler, options, values or {})
    settings, traits = job_settings(upscaler, options, Fraction(str(options.scale)))
    if traits.lengths.whole:
        if num_frames is None:
            raise OptionError(f"model {upscaler.name} must see the whole clip with these options: use `upscale`")
        options = whole_clip(options, num_frames)
    out_width, out_height = out_size(width, height, options.scale)
    sizes = Sizes(height, width, settings.scale, out_height, out_width, sample_bytes=sample_bytes, channels=channels)
    plan = upscaler.plan(PlanInput(sizes, options, num_frames, None), settings)
    finish = Finish(
        out_width,
        out_height,
        options.color or traits.color,
        keep_alpha=options.alpha == "keep",
        detail=blended_detail(upscaler, options),
        sharpen=traits.sharpen if options.sharpen is None else options.sharpen,
    )
    return FramesJob(upscaler, options, RenderSettings(plan, settings, traits), finish, out_width, out_height)


def refuse_file_options(options: UpscaleOptions) -> None:
    """Refuse options of files, which frames in memory have no use for.

    Raises:
        OptionError: One was given.
    """
    groups = {name: info.group for name, info in option_infos()}
    for name in options.changed():
        if name != "alpha" and (name in _NO_USE or groups[name] in (FILE, RANGE, LIMITS)):
            raise OptionError(f"{flag_name(name)} has no use for frames in memory: leave it out")
