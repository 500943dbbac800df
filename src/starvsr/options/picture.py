"""The colours of the result."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.options.info import PICTURE, option


@dataclass(frozen=True)
class PictureOptions:
    """The colours of the result."""

    color: str | None = option(
        None,
        "Transfer of the input's colours onto the result (default: the model's own).",
        PICTURE,
        "text",
        choices=("none", "adain", "wavelet"),
    )
