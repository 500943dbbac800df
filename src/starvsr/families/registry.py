"""All models, in one table: a new one is an entry here and a package beside this file. Loads no torch.

An entry's network and weights are loaded on demand, by the function that it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from starvsr.errors import OptionError
from starvsr.families.causal_sr.spec import CAUSAL_SR
from starvsr.families.entry import Entry
from starvsr.families.settings import NoSettings
from starvsr.families.stablevsr.spec import STABLEVSR
from starvsr.families.star_cogvideox.spec import STAR_COGVIDEOX_2B, STAR_COGVIDEOX_5B
from starvsr.families.star_i2vgen.spec import STAR_HEAVY, STAR_LIGHT
from starvsr.families.star_small.spec import STAR_SMALL

if TYPE_CHECKING:
    from starvsr.models.weights.components import Component

BICUBIC = Entry(
    name="bicubic",
    summary="no network: plain interpolation, for comparison",
    scale=4,
    licence="-",
    settings=NoSettings,
    loader="starvsr.families.bicubic:load",
)

_ENTRIES: tuple[Entry, ...] = (
    STAR_SMALL,
    STAR_LIGHT,
    STAR_HEAVY,
    STAR_COGVIDEOX_5B,
    STAR_COGVIDEOX_2B,
    STABLEVSR,
    CAUSAL_SR,
    BICUBIC,
)
MODELS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}

Spec = TypeVar("Spec", bound=Entry)


def get_entry(name: str) -> Entry:
    """Return a model's entry.

    Raises:
        OptionError: there is no model of that name.
    """
    if name not in MODELS:
        known = ", ".join(MODELS)
        raise OptionError(f"unknown model {name!r}: known are {known}; see `starvsr models list`")
    return MODELS[name]


def get_spec(name: str, family: type[Spec]) -> Spec:
    """Return the entry of a model of one family.

    Raises:
        OptionError: there is no model of that name, or it is of another family.
    """
    entry = get_entry(name)
    if not isinstance(entry, family):
        others = ", ".join(names_of(family))
        raise OptionError(f"{name} is a model of another kind: this works with {others}")
    return entry


def all_components() -> dict[str, Component]:
    """Return all weights that can be fetched by name: those that families share, and each family's own."""
    from starvsr.models.weights.components import COMPONENTS, Component

    own = [
        part
        for entry in MODELS.values()
        for names in (*entry.parts.values(), tuple(entry.starts.values()))
        for part in names
    ]
    return {**COMPONENTS, **{part.name: part for part in own if isinstance(part, Component)}}


def names_of(family: type[Entry]) -> list[str]:
    """Return the names of a family's models."""
    return [name for name, entry in MODELS.items() if isinstance(entry, family)]
