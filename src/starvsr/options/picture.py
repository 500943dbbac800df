"""Colours and sharpness of the result."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.options.info import PICTURE, option


@dataclass(frozen=True)
class PictureOptions:
    """Colours and sharpness of the result."""

    color: str | None = option(
        None,
        "Transfer of the input's colours onto the result (default: the model's own).",
        PICTURE,
        "text",
        choices=("none", "adain", "wavelet"),
    )
    sharpen: float | None = option(
        None,
        "How much fine texture is brought out: 0 leaves the picture as it is, 1 shows it clearly, 2 is the most. "
        "Strong edges get next to no haloes (default: the model's own).",
        PICTURE,
        "float",
        minimum=0,
        maximum=2,
    )
