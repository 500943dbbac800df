"""One clip of a batch: what is read, what is written, with which options."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from starvsr.apps.batch.locations import Location
from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions, option_infos
from starvsr.options import flag_name

RECORDS = "_batch"
"""The folder in the destination that holds the records of a batch."""

OF_THE_BATCH = frozenset({"overwrite", "restart", "compare", "on_error", "devices", "device", "processes", "threads"})
"""Options that are the batch's and no clip's."""

PER_CLIP = frozenset(name for name, _ in option_infos()) - OF_THE_BATCH
"""Options that a line of a manifest may give."""


@dataclass(frozen=True)
class Clip:
    """One clip.

    Args:
        input: Address of the input.
        output: Where the result goes, relative to the destination, with forward slashes.
        options: Options that differ from the defaults, as JSON has them.
    """

    input: str
    output: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A short name of the clip for files: the same for the same input, output and options."""
        text = json.dumps([self.input, self.output, self.options], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"input": self.input, "output": self.output, "options": self.options}


def record_of(destination: Location, output: str) -> Location:
    """Return where the record of a clip lies."""
    return destination.join(f"{RECORDS}/clips/{output}.json")


def plain_options(options: UpscaleOptions) -> dict[str, Any]:
    """Return the options that differ from the defaults, as JSON has them."""
    changed = {name: value for name, value in options.changed().items() if name not in OF_THE_BATCH}
    return {name: str(value) if isinstance(value, Fraction) else value for name, value in changed.items()}


def clip_options(common: UpscaleOptions, own: dict[str, Any]) -> UpscaleOptions:
    """Return the options of a clip: those of the command, and its own.

    Raises:
        OptionError: An option is unknown, is the batch's, or has a wrong value.
    """
    for name in own:
        if name in OF_THE_BATCH:
            raise OptionError(
                f"{name!r} holds for the whole batch: give {flag_name(name)} to the command, if it has it"
            )
        if name not in PER_CLIP:
            raise OptionError(f"unknown option {name!r}: options are named as the flags of `starvsr upscale --help`")
    values = {name: value for name, value in common.changed().items() if name not in OF_THE_BATCH}
    sizes = {"scale", "height", "width", "fit"}
    if sizes & own.keys():  # a size of the clip's own takes the place of the command's
        values = {name: value for name, value in values.items() if name not in sizes}
    return UpscaleOptions(**{**values, **own})


__all__ = ["PER_CLIP", "RECORDS", "Clip", "clip_options", "plain_options", "record_of"]
