"""Flags of all commands that score results: how the metrics look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from starvsr.apps.cli.flags import GroupedOption

Function = TypeVar("Function", bound=Callable[..., Any])


def option(*names: str, group: str, **details: Any) -> Any:
    """Return an option that help shows under a heading."""
    return click.option(*names, cls=GroupedOption, group=group, **details)


_FLAGS = (
    option("--metrics", metavar="NAME,...", group="Scores", help="Metrics, or all (default: the usual ones)."),
    option(
        "--crop-px",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        group="Scores",
        help="Cut from each border.",
    ),
    option(
        "--flow",
        type=click.Choice(["dis", "dis-fast", "farneback", "raft"]),
        default="dis",
        show_default=True,
        group="Scores",
        help="Optical flow of temporal metrics.",
    ),
    option(
        "--flow-source",
        type=click.Choice(["auto", "gt", "lq", "hq"]),
        default="auto",
        show_default=True,
        group="Scores",
        help="What it is estimated from; auto: the reference, else the input; hq: the result itself.",
    ),
    option(
        "--dover-draws",
        type=click.IntRange(1),
        default=4,
        show_default=True,
        group="Scores",
        help="Draws of frames and fragments that DOVER's scores are averaged over.",
    ),
    option("--allow-shift", is_flag=True, group="Scores", help="Score results that are shifted in space or time."),
)


def scoring_flags(command: Function) -> Function:
    """Give a command ``metrics``, ``crop_px``, ``flow``, ``flow_source``, ``dover_draws`` and ``allow_shift``."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command
