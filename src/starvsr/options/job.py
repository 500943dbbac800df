"""The options that every job has, and what they do together: checks, records, flags."""

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
from starvsr.options.picture import PictureOptions
from starvsr.options.run import RunOptions, check_run
from starvsr.options.size import SizeOptions, check_size
from starvsr.options.source import SourceOptions, check_source


@dataclass(frozen=True)
class JobOptions(  # the fields of the last one come first
    LimitOptions,
    RunOptions,
    OutputOptions,
    CutOptions,
    SourceOptions,
    PictureOptions,
    SizeOptions,
    ModelOptions,
):
    """What a user may ask of a job whatever the model; `starvsr.families.options` adds the options of the models.

    None means: the model's, the file's or the encoder's own default.

    Raises:
        OptionError: a value has a wrong type or lies outside its range, or two values contradict each other.
    """

    def __post_init__(self) -> None:
        """Check every value and bring it to its final type."""
        check_values(self)
        check_size(self, self.scale, ModelOptions.scale)
        check_source(self)
        check_cuts(self)
        check_run(self)

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


def described(options: type) -> Iterator[tuple[str, Any, OptionInfo]]:
    """Yield name, default and description of each option of a dataclass of options, in the order of its fields."""
    for field in dataclasses.fields(options):
        yield field.name, field.default, field.metadata["option"]


def check_values(options: Any) -> None:
    """Check every value of a frozen dataclass of options and bring it to its final type.

    Raises:
        OptionError: a value has a wrong type or lies outside its range, or is None where None means nothing.
    """
    for name, default, info in described(type(options)):
        value = getattr(options, name)
        if value is not None:
            object.__setattr__(options, name, info.check(name, value))
        elif default is not None:
            raise OptionError(f"{flag_name(name)} is None: leave it out for the default")


def _as_word(value: object) -> str:
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)
