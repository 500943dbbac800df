"""Which models can be used as they are: their weights come with the package or are on this machine. Loads no torch."""

from __future__ import annotations

from starvsr.errors import WeightsError
from starvsr.families.entry import Entry
from starvsr.families.registry import MODELS


def available_models() -> tuple[str, ...]:
    """Return the names of the models whose weights are here, in the order of the registry."""
    return tuple(name for name, entry in MODELS.items() if is_available(entry))


def is_available(entry: Entry) -> bool:
    """Whether a model can be loaded without being given weights."""
    if not entry.is_trained or not entry.parts:
        return entry.is_trained
    from starvsr.models.weights import find_model
    from starvsr.models.weights.cache import Places

    try:
        find_model(entry, places=Places())
    except WeightsError:
        return False
    return True
