"""All options together: those of every job and those of the model families. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starvsr.errors import OptionError
from starvsr.families.settings import (
    DetailSettings,
    ExactSettings,
    PrecisionSettings,
    SamplingSettings,
    WeightsSettings,
    WindowSettings,
    check_prompts,
)
from starvsr.families.stablevsr.settings import NeighbourSettings
from starvsr.families.star_cogvideox.settings import GuidanceCurveSettings
from starvsr.families.star_i2vgen.settings import (
    GuidanceSettings,
    ReferenceSettings,
    SpeedSettings,
    check_colors,
)
from starvsr.options.cuts import CutOptions
from starvsr.options.info import OptionInfo
from starvsr.options.job import JobOptions, described
from starvsr.options.limits import LimitOptions
from starvsr.options.model import ModelOptions
from starvsr.options.output import OutputOptions
from starvsr.options.picture import PictureOptions
from starvsr.options.run import RunOptions
from starvsr.options.size import SizeOptions
from starvsr.options.source import SourceOptions


@dataclass(frozen=True)
class UpscaleOptions(  # the fields of the last one come first: the order of help and records
    JobOptions,
    LimitOptions,
    RunOptions,
    OutputOptions,
    CutOptions,
    SourceOptions,
    ReferenceSettings,
    ExactSettings,
    PictureOptions,
    SpeedSettings,
    SizeOptions,
    GuidanceCurveSettings,
    GuidanceSettings,
    NeighbourSettings,
    PrecisionSettings,
    WindowSettings,
    DetailSettings,
    SamplingSettings,
    WeightsSettings,
    ModelOptions,
):
    """Everything a user may ask of an upscaling job.

    None means: the model's, the file's or the encoder's own default.

    Raises:
        OptionError: a value has a wrong type or lies outside its range, or two values contradict each other.
    """

    def __post_init__(self) -> None:
        """Check every value and bring it to its final type."""
        super().__post_init__()
        check_colors(self.color, self)
        check_prompts(self)


def option_infos() -> Iterator[tuple[str, OptionInfo]]:
    """Yield the name and the description of each option, in the order of the fields."""
    for name, _, info in described(UpscaleOptions):
        yield name, info


def model_options() -> Iterator[tuple[str, OptionInfo]]:
    """Yield the options that only some models honour; the others refuse them."""
    general = {name for name, *_ in described(JobOptions)}
    yield from ((name, info) for name, info in option_infos() if name not in general)


def default_of(name: str) -> Any:
    """Return an option's default."""
    return next(default for known, default, _ in described(UpscaleOptions) if known == name)


def options_from(values: dict[str, Any]) -> UpscaleOptions:
    """Build options from names and values; an unknown name is refused with the nearest known one."""
    import difflib

    known = [name for name, _ in option_infos()]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known options: {', '.join(known)}"
            raise OptionError(f"there is no option {name!r}: {hint}")
    return UpscaleOptions(**values)
