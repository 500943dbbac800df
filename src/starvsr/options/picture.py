"""How the picture comes out: its colours, and the choices of the released STAR code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starvsr.errors import OptionError
from starvsr.options.info import PICTURE, RELEASED, option


def _released_option(help: str, default: str) -> Any:
    """One choice between ours and the released STAR code's."""
    return option(None, help, RELEASED, "text", choices=(default, "released"), model=True)


@dataclass(frozen=True)
class PictureOptions:
    """How the picture comes out: its colours, and the choices of the released STAR code."""

    color: str | None = option(
        None,
        "Transfer of the input's colours onto the result (default: the model's own).",
        PICTURE,
        "text",
        choices=("none", "adain", "wavelet"),
    )
    exact: bool = option(
        False,
        "Make the released STAR code's choices in all of the following, on the whole clip in one piece.",
        RELEASED,
        "flag",
        model=True,
    )
    padding: str | None = _released_option(
        "Border around the frames: the least there must be, or up to 1280x720.", "minimal"
    )
    window_join: str | None = _released_option("Time windows: blended over a quarter, or cut hard.", "blend")
    decode_groups: str | None = _released_option("Decoding: overlapping groups of 8 frames, or 3 at a time.", "overlap")
    prompt_join: str | None = _released_option("Prompt: set off by a comma and kept whole, or run together.", "fit")
    rounding: str | None = _released_option(
        "To whole levels: rounded, or cut off (and colours matched by adain).", "nearest"
    )
    noise: str | None = _released_option(
        "Noise: the same for every cut and device, or as the script draws it.", "frames"
    )


def check_picture(options: PictureOptions) -> None:
    """Refuse a colour transfer where the released rounding brings its own.

    Raises:
        OptionError: both were asked for.
    """
    if options.color is not None and (options.rounding or ("released" if options.exact else "")) == "released":
        raise OptionError(
            "--color has no use here, since the released rounding matches colours by adain: leave it out, or add "
            "--rounding nearest"
        )
