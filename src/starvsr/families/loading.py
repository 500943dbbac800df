"""Load models by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starvsr.engine.upscaler import Upscaler
from starvsr.errors import OptionError
from starvsr.families.devices import choose_device
from starvsr.families.options import UpscaleOptions, model_options
from starvsr.families.registry import get_entry
from starvsr.families.settings import PROMPT_SOURCES, job_names, load_names
from starvsr.options import flag_name


def load_upscaler(name: str | None = None, *, device: str = "auto", **settings: Any) -> Upscaler:
    """Load a model by its name.

    Args:
        name: As `starvsr models list` shows it, or "bicubic" for plain interpolation; None finds it by the names of the
            tensors in ``weights``, and is star-small without them.
        device: "auto", "cpu", "cuda", "cuda:1", "mps", ...
        settings: Options of the model, as its family's ``settings`` list them; those that a job may give become the
            defaults of its jobs; None and False are left out.

    Returns:
        The model.

    Raises:
        OptionError: there is no such model or device, or the model does not honour a setting.
        WeightsError: its weights are missing or damaged.
    """
    return _loaded(name, device, settings)


def _loaded(name: str | None, device: str, settings: Mapping[str, Any], first_prompt: str | None = None) -> Upscaler:
    from starvsr.families.recognize import check_weights, model_for  # loads torch

    if name is None:
        name = "star-small" if settings.get("weights") is None else model_for(Path(settings["weights"]))
    entry = get_entry(name)
    given = {key: value for key, value in settings.items() if value is not None and value is not False}
    known = load_names(entry.settings) | job_names(entry.settings)
    for key in given:
        if key in PROMPT_SOURCES and key in known:
            raise OptionError(f"{flag_name(key)} is an option of a job: give it to `upscale` or `prepare`")
        if key == "detail" and key not in known:
            raise OptionError(f"--detail is an option of a job of {name}: give it to `upscale` or `prepare`")
        if key not in known:
            raise OptionError(f"model {name} has no use for {flag_name(key)}: leave it out")
    if "weights" in given:
        given["weights"] = Path(given["weights"])
        check_weights(entry, given["weights"])
    if first_prompt is not None:
        given["first_prompt"] = first_prompt
    return entry.load(device=choose_device(device), **given)


def load_for(options: UpscaleOptions, device: str | None = None, *, first_prompt: str | None = None) -> Upscaler:
    """Load the model that the options name.

    Args:
        options: Name the model, and what its jobs do where they name nothing else.
        device: Where it computes; None is the device of the options.
        first_prompt: Prompt of its first job, if that was found outside the options: it is encoded while the model is
            loaded, so that the text encoder is read once, and is no default of other jobs.
    """
    left_out = {"steps", "seed"}
    if "detail" not in load_names(get_entry(options.model).settings):  # done when frames are finished
        left_out.add("detail")
    if reads_text(options):  # else they are refused
        left_out.update(PROMPT_SOURCES)
    settings = {name: getattr(options, name) for name, _ in model_options() if name not in left_out}
    return _loaded(options.model, device or options.device, settings, first_prompt)


def reads_text(options: UpscaleOptions, upscaler: Upscaler | None = None) -> bool:
    """Whether the model of a job reads a prompt.

    Args:
        options: Name the model.
        upscaler: The model, where it is loaded already.

    Raises:
        OptionError: There is no such model.
    """
    accepted = job_names(get_entry(options.model).settings) if upscaler is None else upscaler.traits_for({}).accepts
    return "prompt" in accepted
