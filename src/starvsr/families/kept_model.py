"""One model kept loaded from job to job, for processes that do many."""

from __future__ import annotations

from typing import Any

from starvsr.engine.upscaler import Upscaler
from starvsr.families.options import UpscaleOptions, model_options


class KeptModel:
    """Holds the model of the last job; another one takes its place."""

    def __init__(self) -> None:
        self._loaded: tuple[dict[str, Any], Upscaler] | None = None

    def upscaler_for(self, options: UpscaleOptions) -> Upscaler:
        """Return the model of a job, loaded now unless it was that of the job before.

        Raises:
            OptionError: There is no such model or device, or the model does not honour an option.
            WeightsError: Its weights are missing or damaged.
        """
        from starvsr.families.loading import load_upscaler
        from starvsr.families.registry import get_entry
        from starvsr.families.settings import load_names

        names = load_names(get_entry(options.model).settings)
        values = {name: getattr(options, name) for name, _ in model_options() if name in names}
        wanted = {"name": options.model, "device": options.device, **values}
        if self._loaded is None or self._loaded[0] != wanted:
            self.drop()  # before the next one takes memory
            self._loaded = (wanted, load_upscaler(**wanted))
        return self._loaded[1]

    def drop(self) -> None:
        """Let go of the model."""
        self._loaded = None
