"""What a user may ask of an upscaling job: one frozen dataclass, from which flags and web fields are made.

Each field of `UpscaleOptions` carries an `OptionInfo` in its metadata (help, group, unit, choices, range). The
command line, the web page and the provenance record are generated from it, so a new option is added in the module of
its meaning alone (``model``, ``speed``, ``picture``, ``source``, ``cuts``, ``output``, ``run``, ``limits``). Loads no
torch: the command line reads this to print its help.
"""

from starvsr.options.info import LIMITS, OptionInfo, flag_name
from starvsr.options.upscale import UpscaleOptions, default_of, option_infos, options_from

__all__ = [
    "LIMITS",
    "OptionInfo",
    "UpscaleOptions",
    "default_of",
    "flag_name",
    "option_infos",
    "options_from",
]
