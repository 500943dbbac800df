"""How one option is described and checked: help, heading, kind of value, range; the headings.

Loads no torch: the command line reads this to print its help.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from starvsr.errors import OptionError
from starvsr.quantities import parse_box, parse_interval, parse_size, parse_time

Kind = Literal["flag", "int", "float", "text", "time", "size", "rate", "interval", "box"]

MODEL, PICTURE, RANGE = "Model", "Picture", "Input"
CUTS, FILE, RUN, LIMITS = "Memory and cuts", "Output", "Run", "Inputs that are not trusted"


@dataclass(frozen=True)
class OptionInfo:
    """How one option is shown and checked.

    Args:
        help: One sentence for people.
        group: Heading under which it is listed.
        kind: Type of the value; ``time`` becomes a Fraction of seconds, ``size`` a number of bytes, ``rate``
            a Fraction of frames per second, ``interval`` stays text as 300:700, ``box`` as 1920x1080.
        unit: Unit of the number, if any.
        choices: The words that are allowed; for numbers, words allowed beside the number (as "auto").
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
        loads: True for an option of a model that holds from its loading on, for every job.
        names_weights: True for the path of weights. Jobs and outputs know these by the digest of what they hold, so the
            path itself may change.
    """

    help: str
    group: str
    kind: Kind
    unit: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    loads: bool = False
    names_weights: bool = False

    def check(self, name: str, value: object) -> Any:
        """Return the value in its final type, or raise OptionError that names the option."""
        try:
            return _CHECKS[self.kind](self, value)
        except ValueError as error:
            raise OptionError(f"{flag_name(name)} is {value!r}: {error}") from None

    def check_range(self, number: Any) -> Any:
        """Return the number, or raise ValueError when it lies outside the range."""
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"give at least {self.minimum:g}{unit}")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"give at most {self.maximum:g}{unit}")
        return number

    def wanted(self) -> str:
        """Describe which values are valid, for messages."""
        numbers = {"int": "a whole number", "float": "a number"}.get(self.kind)
        words = ", ".join(self.choices)
        return " or ".join(part for part in (numbers, words) if part)


def option(default: Any, help: str, group: str, kind: Kind, **details: Any) -> Any:
    """Make the field of one option; ``details`` are those of `OptionInfo`."""
    return field(default=default, metadata={"option": OptionInfo(help, group, kind, **details)})


def flag_name(name: str) -> str:
    """Return the command-line flag of an option: ``tile_overlap`` -> ``--tile-overlap``."""
    return "--" + name.replace("_", "-")


def _check_flag(info: OptionInfo, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


def _check_number(info: OptionInfo, value: object) -> int | float | str:
    if isinstance(value, str) and value in info.choices:
        return value
    if isinstance(value, bool):
        raise ValueError(f"give {info.wanted()}")
    try:
        number = float(value)  # type: ignore[arg-type]
        if info.kind == "int":
            if number != int(number):
                raise ValueError
            return int(info.check_range(int(value)))  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError) as error:
        if str(error).startswith("give "):
            raise
        raise ValueError(f"give {info.wanted()}") from None
    if number != number or abs(number) == float("inf"):
        raise ValueError(f"give {info.wanted()}")
    return float(info.check_range(number))


def _check_text(info: OptionInfo, value: object) -> str:
    if isinstance(value, os.PathLike):  # a file or folder that has a name
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ValueError("give text")
    if info.choices and value not in info.choices:
        raise ValueError(f"give one of {', '.join(info.choices)}")
    return value


def _check_time(info: OptionInfo, value: object) -> Fraction:
    return Fraction(info.check_range(parse_time(value)))


def _check_size(info: OptionInfo, value: object) -> int | str:
    if isinstance(value, str) and value in info.choices:
        return value
    return int(info.check_range(parse_size(value)))


def _check_rate(info: OptionInfo, value: object) -> Fraction:
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("give frames per second, as 25, 23.976 or 24000/1001") from None
    return Fraction(info.check_range(rate))


def _check_interval(info: OptionInfo, value: object) -> str:
    low, high = (info.check_range(number) for number in parse_interval(value))
    return f"{low}:{high}"


def _check_box(info: OptionInfo, value: object) -> str:
    width, height = (info.check_range(number) for number in parse_box(value))
    return f"{width}x{height}"


_CHECKS: dict[str, Callable[[OptionInfo, object], Any]] = {
    "flag": _check_flag,
    "int": _check_number,
    "float": _check_number,
    "text": _check_text,
    "time": _check_time,
    "size": _check_size,
    "rate": _check_rate,
    "interval": _check_interval,
    "box": _check_box,
}
