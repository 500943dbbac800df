"""How the model of a job is loaded once more in other processes."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial

from starvsr.engine.upscaler import ModelReference, Upscaler, kind_of
from starvsr.errors import OptionError
from starvsr.families.loading import load_upscaler
from starvsr.families.registry import MODELS


def reference_of(upscaler: Upscaler) -> ModelReference:
    """Return a reference to a loaded model; can be pickled when the model is of the registry, or can be pickled."""
    if upscaler.name in MODELS:
        load = partial(load_upscaler, upscaler.name, **upscaler.loaded_with)
        return ModelReference(upscaler.name, load, kind_of(upscaler))
    return ModelReference(upscaler.name, _Carried(upscaler), kind_of(upscaler))


def refuse_unpicklable(reference: ModelReference) -> None:
    """Refuse a model that cannot be sent to other processes.

    Raises:
        OptionError: So it is.
    """
    try:
        pickle.dumps(reference)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionError(
            f"model {reference.name} cannot be sent to other processes ({error}): make it picklable, by functions at "
            "the top level of a module, or leave out --processes and --devices"
        ) from None


@dataclass(frozen=True)
class _Carried:
    """A model that travels whole, because no registry knows how to load it."""

    upscaler: Upscaler

    def __call__(self, device: str) -> Upscaler:
        """Return the model.

        Raises:
            OptionError: It computes on another device.
        """
        if device != self.upscaler.device:
            raise OptionError(
                f"model {self.upscaler.name} computes on {self.upscaler.device} and cannot be loaded on {device}: name "
                f"{self.upscaler.device} in --devices"
            )
        return self.upscaler
