"""What an input that is not trusted may ask for."""

# ruff: noqa: RUF009 - `option` makes a `dataclasses.field`

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from starvsr.options.info import LIMITS, Kind, option
from starvsr.quantities import format_size
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits, plain


def _limit(name: str, help: str, kind: Kind, unit: str | None = None) -> Any:
    """One of `starvsr.video.untrusted.limits.Limits`."""
    default = plain(getattr(DEFAULT_LIMITS, name))
    shown = format_size(int(default)).replace(" ", "") if kind == "size" else default
    return option(None, f"{help} (default: {shown}).", LIMITS, kind, unit=unit, minimum=1)


@dataclass(frozen=True)
class LimitOptions:
    """What an input that is not trusted may ask for."""

    isolate: bool = option(
        False, "Decode in a process of its own, which may crash or hang without harm.", LIMITS, "flag"
    )
    max_pixels: int | None = _limit("max_pixels", "Refuse pictures of more pixels", "int")
    max_frames: int | None = _limit("max_frames", "Refuse videos of more frames", "int")
    max_duration: Fraction | None = _limit("max_duration", "Refuse videos that last longer, in seconds", "time")
    max_streams: int | None = _limit("max_streams", "Refuse files of more streams", "int")
    max_metadata: int | None = _limit("max_metadata", "Refuse files with more in their tags", "size")
    max_attachments: int | None = _limit("max_attachments", "Refuse files with larger attachments", "size")
    max_stall: Fraction | None = _limit("max_stall", "Give up after so many seconds without a frame", "time")
    decoder_memory: int | None = _limit("decoder_memory", "With --isolate: memory of the decoder", "size")

    @property
    def limits(self) -> Limits:
        """What the input may ask for."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(Limits)}
        return Limits(**{name: value for name, value in given.items() if value is not None})
