"""What a user may ask of any job: one frozen dataclass, put together from a module for each meaning.

Each field carries an `OptionInfo` in its metadata (help, group, unit, choices, range). Flags, help, checks and the
provenance record are generated from it, so a new option is added in the module of its meaning alone (``model``,
``picture``, ``source``, ``cuts``, ``output``, ``run``, ``limits``). The options of a model family live with the family;
`starvsr.families.options` puts all together. Loads no torch: the command line reads this to print its help.
"""

from starvsr.options.info import LIMITS, OptionInfo, flag_name
from starvsr.options.job import JobOptions

__all__ = ["LIMITS", "JobOptions", "OptionInfo", "flag_name"]
