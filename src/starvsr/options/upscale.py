"""All options together, from their names and back to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starvsr.errors import OptionError
from starvsr.options.cuts import CutOptions, check_cuts
from starvsr.options.info import OptionInfo, flag_name
from starvsr.options.limits import LimitOptions
from starvsr.options.model import ModelOptions
from starvsr.options.output import OutputOptions
from starvsr.options.picture import PictureOptions, check_picture
from starvsr.options.run import RunOptions
from starvsr.options.size import SizeOptions, check_size
from starvsr.options.source import SourceOptions, check_source
from starvsr.options.speed import SpeedOptions


@dataclass(frozen=True)
class UpscaleOptions(  # the fields of the last one come first
    LimitOptions,
    RunOptions,
    OutputOptions,
    CutOptions,
    SourceOptions,
    PictureOptions,
    SpeedOptions,
    SizeOptions,
    ModelOptions,
):
    """Everything a user may ask of an upscaling job.

    None means: the model's, the file's or the encoder's own default.

    Raises:
        OptionError: a value has a wrong type or lies outside its range, or two values contradict each other.
    """

    def __post_init__(self) -> None:
        """Check every value and bring it to its final type."""
        for name, info in option_infos():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, info.check(name, value))
            elif not _may_be_none(name):
                raise OptionError(f"{flag_name(name)} is None: leave it out for the default")
        check_size(self, self.scale, default_of("scale"))
        check_source(self)
        check_picture(self)
        check_cuts(self)

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return {name: value for name, value in self.as_dict().items() if value != defaults[name]}

    def as_dict(self) -> dict[str, Any]:
        """Return every option by name, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def as_flags(self) -> list[str]:
        """Return the command-line words that give these options (defaults left out)."""
        words: list[str] = []
        for name, value in self.changed().items():
            flag = flag_name(name)
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            else:
                words += [flag, _as_word(value)]
        return words


def option_infos() -> Iterator[tuple[str, OptionInfo]]:
    """Yield the name and the description of each option, in the order of the fields."""
    for f in dataclasses.fields(UpscaleOptions):
        yield f.name, f.metadata["option"]


def default_of(name: str) -> Any:
    """Return an option's default."""
    return next(f.default for f in dataclasses.fields(UpscaleOptions) if f.name == name)


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


def _may_be_none(name: str) -> bool:
    return default_of(name) is None


def _as_word(value: object) -> str:
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)
