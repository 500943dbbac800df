"""What is read of the input, and how."""

# ruff: noqa: RUF009 - `option` makes a `dataclasses.field`

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from starvsr.errors import OptionError
from starvsr.options.info import PICTURE, RANGE, option


@dataclass(frozen=True)
class SourceOptions:
    """What is read of the input, and how."""

    deinterlace: str = option(
        "auto",
        "Deinterlace the input: when it says that it is interlaced (auto), always or never.",
        PICTURE,
        "text",
        choices=("auto", "on", "off"),
    )
    start: Fraction | None = option(None, "Begin here: seconds or h:mm:ss.", RANGE, "time", unit="s")
    duration: Fraction | None = option(None, "Length to upscale: seconds or h:mm:ss.", RANGE, "time", unit="s")
    on_corrupt: str = option(
        "error",
        "On a damaged frame or a cut-off file: stop, leave the frame out, or show the one before in its place.",
        RANGE,
        "text",
        choices=("error", "skip", "conceal"),
    )
    images: str = option(
        "auto",
        "A folder of images is one film, or photos, each independent, under its own name (default: auto, a film where "
        "the names are alike but for a number and the sizes the same, or the output is a video).",
        RANGE,
        "text",
        choices=("auto", "film", "photos"),
    )
    frame_rate: Fraction | None = option(
        None,
        "Frame rate of images and raw streams, which carry none (default: 24).",
        RANGE,
        "rate",
        unit="frames/s",
        minimum=0.001,
        maximum=1000,
    )


def check_source(options: SourceOptions) -> None:
    """Refuse to upscale no time at all.

    Raises:
        OptionError: the duration is 0.
    """
    if options.duration is not None and options.duration == 0:
        raise OptionError("--duration is 0: give the seconds to upscale, or leave it out for all of them")
