"""Options that several model families share, each declared once. A family's own are in its folder. Loads no torch."""

# ruff: noqa: RUF009 - `option` makes a `dataclasses.field`

from __future__ import annotations

import dataclasses
import os
import shlex
from dataclasses import dataclass
from fractions import Fraction

from starvsr.errors import OptionError
from starvsr.options.info import MODEL, flag_name, option

RELEASED = "As the released code does it"


@dataclass(frozen=True)
class WeightsSettings:
    """Weights in place of the model's own."""

    weights: str | None = option(
        None, "File of weights to use in place of the model's own.", MODEL, "text", loads=True, names_weights=True
    )


@dataclass(frozen=True)
class SamplingSettings(WeightsSettings):
    """Settings of models that sample; every model accepts a seed."""

    steps: int | None = option(
        None, "Sampling steps (default: the model's own).", MODEL, "int", minimum=1, maximum=1000
    )
    seed: int | None = option(
        None,
        "Seed of the noise (default: 0). Same seed, same bytes.",
        MODEL,
        "int",
        minimum=0,
        maximum=2**63 - 1,
    )


@dataclass(frozen=True)
class DetailSettings:
    """How far the result goes from the faithful enlargement of the input.

    A family that names this among its settings does it itself, with its weights. For all others the engine blends
    finished frames with the bicubic enlargement (`starvsr.engine.detail`), so every model accepts it.
    """

    detail: float | None = option(
        None,
        "How far the result goes from the plain enlargement of the input (0) towards the model's (1, the default). "
        "Weights with two ends are taken between faithful (0) and vivid (1; default: star-small 1, causal-sr halfway).",
        MODEL,
        "float",
        minimum=0,
        maximum=1,
        loads=True,
    )


@dataclass(frozen=True)
class PrecisionSettings:
    """The number type of the network."""

    precision: str | None = option(
        None,
        "Number type of the network (default: the model's own); int8 keeps its weights in 8 bits.",
        MODEL,
        "text",
        loads=True,
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    )


@dataclass(frozen=True)
class PromptSettings:
    """What the video shows, or where that is written, for models that read text.

    ``PROMPT_SOURCES`` are the options by which the prompt of a job is found before its model is loaded: they never
    reach a model.
    """

    prompt: str | None = option(
        None, "What the video shows, for models that read text (default: NAME.txt beside the input).", MODEL, "text"
    )
    prompt_from: str | None = option(
        None,
        "Where prompts are: a folder of NAME.txt for each input NAME, a text file with a line for each input in order, "
        "or none, to leave NAME.txt beside the input unread.",
        MODEL,
        "text",
    )
    caption: str | None = option(
        None,
        "Command that is given a few frames as PNG files and prints a sentence on what they show; it is asked for "
        "inputs without a text.",
        MODEL,
        "text",
    )
    caption_frames: int | None = option(
        None, "Frames that the command of --caption is given (default: 4).", MODEL, "int", minimum=1, maximum=64
    )
    caption_timeout: Fraction | None = option(
        None,
        "Time after which the command of --caption is stopped, in seconds (default: 600).",
        MODEL,
        "time",
        minimum=1,
    )


PROMPT_SOURCES = ("prompt_from", "caption", "caption_frames", "caption_timeout")
NO_TEXTS = "none"
"""The value of ``prompt_from`` that leaves texts beside inputs unread."""


def check_prompts(options: PromptSettings) -> None:
    """Refuse prompts that are empty, or given in two ways.

    Raises:
        OptionError: So they are.
    """
    for name in ("prompt", "prompt_from", "caption"):
        value = getattr(options, name)
        if value is not None and not value.strip():
            raise OptionError(f"{flag_name(name)} is empty: give one, or leave it out")
    for name in ("prompt_from", "caption"):
        if options.prompt is not None and getattr(options, name) is not None:
            raise OptionError(f"--prompt and {flag_name(name)} both say what the input shows: give one of them")
    for name in ("caption_frames", "caption_timeout"):
        if options.caption is None and getattr(options, name) is not None:
            raise OptionError(f"{flag_name(name)} has no use without --caption: leave it out")
    if options.caption is not None:
        command_words(options.caption)


def command_words(command: str) -> list[str]:
    """Return the words of a command; quotes hold words together, and no shell reads them.

    Raises:
        OptionError: A quote is not closed.
    """
    try:
        if os.name != "nt":
            return shlex.split(command)
        return [word.strip('"') for word in shlex.split(command, posix=False)]  # a backslash is part of a path there
    except ValueError as error:
        raise OptionError(f"--caption {command}: not a command ({error}): check the quotes") from None


@dataclass(frozen=True)
class WindowSettings(PromptSettings):
    """What the video shows, and how much of it is seen at once."""

    window: int | None = option(None, "Frames that the network sees at once.", MODEL, "int", unit="frames", minimum=1)


@dataclass(frozen=True)
class PromptGuidanceSettings:
    """How strongly the prompt is followed."""

    negative_prompt: str | None = option(
        None, "What the result must not look like, for models that read text.", MODEL, "text"
    )
    guidance: float | None = option(
        None,
        "Weight of the prompt against the negative prompt (default: the model's own); 1 saves half the work.",
        MODEL,
        "float",
        minimum=1,
        maximum=50,
    )


@dataclass(frozen=True)
class ExactSettings:
    """The released code's choices."""

    exact: bool = option(
        False,
        "Make the released code's choices: the whole clip in one piece, and for STAR all of the following.",
        RELEASED,
        "flag",
    )


@dataclass(frozen=True)
class NoSettings:
    """The options of a model that has none."""


def job_names(settings: type) -> frozenset[str]:
    """Return the options of a family that a job may give; the seed is every model's."""
    return frozenset(f.name for f in dataclasses.fields(settings) if not f.metadata["option"].loads) - {"seed"}


def load_names(settings: type) -> frozenset[str]:
    """Return the options of a family that hold from loading on."""
    return frozenset(f.name for f in dataclasses.fields(settings) if f.metadata["option"].loads)
