"""Command-line flags made from the fields of `UpscaleOptions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from starvsr.apps.cli.commands import ExampleCommand
from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions, default_of, option_infos
from starvsr.options import LIMITS, OptionInfo, flag_name

Function = TypeVar("Function", bound=Callable[..., Any])
_METAVARS = {
    "int": "N",
    "float": "X",
    "text": "TEXT",
    "time": "TIME",
    "size": "SIZE",
    "rate": "RATE",
    "interval": "N:N",
    "box": "WxH",
}
_SHORT = {"overwrite": ("-y",), "exact": ("--reference",)}
_OWN_METAVARS = {
    "model": "NAME",
    "weights": "FILE",
    "tcm": "FOLDER",
    "guidance_decoder": "FOLDER",
    "prompt_from": "FOLDER|FILE|none",
    "caption": "COMMAND",
    "codec": "NAME",
    "preset": "NAME",
    "pixel_format": "NAME",
}


class GroupedCommand(ExampleCommand):
    """A command whose help lists the options under their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their groups, in the order in which the groups first appear."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(param, "group", "Run"), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option that knows its group in the help."""

    def __init__(self, *args: Any, group: str = "Other", **details: Any) -> None:
        super().__init__(*args, **details)
        self.group = group


def upscale_flags(function: Function) -> Function:
    """Give a command one flag for each field of `UpscaleOptions`."""
    for name, info in reversed(list(option_infos())):
        function = _flag(name, info)(function)
    return function


def input_flags(function: Function) -> Function:
    """Give a command the flags that say how an input is opened: the limits, and decoding in a process of its own."""
    for name, info in reversed(list(option_infos())):
        if info.group == LIMITS:
            function = _flag(name, info)(function)
    return function


def options_of(values: dict[str, Any]) -> UpscaleOptions:
    """Build the options from the flags that were given; wrong values are wrong usage."""
    sizes = [name for name in ("scale", "height", "width", "fit") if values.get(name) is not None]
    if "scale" in sizes and len(sizes) > 1:  # also where the scale is the default, which the options cannot tell
        words = " and ".join(flag_name(name) for name in sizes)
        raise click.UsageError(f"{words} both say how large the output becomes: give one of them")
    try:
        return UpscaleOptions(**{name: value for name, value in values.items() if value is not None})
    except OptionError as error:
        raise click.UsageError(str(error)) from None


def _flag(name: str, info: OptionInfo) -> Callable[[Function], Function]:
    return flag_of(name, info, default_of(name))


def flag_of(name: str, info: OptionInfo, default: object) -> Callable[[Function], Function]:
    """Make the flag of an option."""
    flag = flag_name(name)
    if info.kind == "flag":
        words = [*_SHORT.get(name, ()), f"{flag}/--no-{flag[2:]}" if default else flag]
        return click.option(
            *words, name, cls=GroupedOption, group=info.group, is_flag=True, default=default, help=info.help
        )
    return click.option(
        flag,
        name,
        cls=GroupedOption,
        group=info.group,
        default=None,
        metavar=metavar_of(name, info),
        help=_help_of(default, info),
    )


def metavar_of(name: str, info: OptionInfo) -> str:
    """Show what to give: words to choose from, or the kind of value."""
    words = "|".join(info.choices)
    if info.kind == "text":
        return words or _OWN_METAVARS.get(name, "TEXT")
    return f"{_METAVARS[info.kind]}|{words}" if words else _METAVARS[info.kind]


def _help_of(default: object, info: OptionInfo) -> str:
    unit = f" [{info.unit}]" if info.unit and info.kind in ("int", "float") else ""
    shown = f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
    return f"{info.help}{unit}{'' if default is None or '(default' in info.help else shown}"
