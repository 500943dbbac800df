"""What a user may ask of an upscaling job: one frozen dataclass, from which flags and web fields are made."""

from starvsr.pipelines.options.upscale import (
    LIMITS,
    OptionInfo,
    UpscaleOptions,
    default_of,
    flag_name,
    option_infos,
    options_from,
)

__all__ = [
    "LIMITS",
    "OptionInfo",
    "UpscaleOptions",
    "default_of",
    "flag_name",
    "option_infos",
    "options_from",
]
