"""What a request may ask for: fields made from the options of the engine and of the families that are offered.

An option that runs a command, names a path of the host, or bounds what the job may use is the operator's. Text is
refused unless it is known to be harmless, so that a new option is not offered by accident.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from starvsr.apps.server.errors import RefusedError
from starvsr.errors import OptionError, StarVsrError
from starvsr.families.available import available_models
from starvsr.families.entry import Entry
from starvsr.families.options import UpscaleOptions, default_of, model_options, option_infos, options_from
from starvsr.families.registry import MODELS, get_entry
from starvsr.options import LIMITS
from starvsr.options.info import CUTS, RUN

_OPERATORS_GROUPS = frozenset({LIMITS, CUTS, RUN})
_OPERATORS = frozenset({"overwrite", "restart", "compare", "images"})
_PLAIN_TEXT = frozenset({"prompt", "negative_prompt", "codec", "preset", "pixel_format"})
_EVERY_MODEL = frozenset({"seed", "detail"})


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes:
        name: Name of the option.
        help: One sentence for people.
        group: Heading.
        kind: flag, int, float, text, time, size, rate, interval or box, as `starvsr.options.info.OptionInfo` tells.
        default: What holds when it is left out; None: the model's or the encoder's own.
        unit: Of the number.
        choices: Words allowed; for numbers, beside the number.
        minimum: Smallest number.
        maximum: Largest number.
        models: The models that honour it; None: all.
    """

    name: str
    help: str
    group: str
    kind: str
    default: Any
    unit: str | None
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    models: tuple[str, ...] | None


def offered_models(names: str | None) -> tuple[str, ...]:
    """Return the models that are offered: those named, or those whose weights are on this machine.

    Raises:
        OptionError: A name is unknown.
    """
    if names is not None:
        return tuple(get_entry(name.strip()).name for name in names.split(","))
    return available_models()


def fields_for(models: Sequence[str]) -> list[Field]:
    """Return the fields of the form for the models that are offered, in the order of the command's help."""
    own = {name for name, _ in model_options()} - _EVERY_MODEL
    found = []
    for name, info in option_infos():
        honoured = None if name not in own else tuple(m for m in models if name in _names_of(MODELS[m]))
        plain = info.kind != "text" or info.choices or name in _PLAIN_TEXT
        if name == "model":
            info = dataclasses.replace(info, choices=tuple(models))
        elif info.group in _OPERATORS_GROUPS or name in _OPERATORS or not plain or honoured == ():
            continue
        default = _plain(default_of(name)) if name != "model" or default_of(name) in models else models[0]
        found.append(
            Field(
                name,
                info.help,
                info.group,
                info.kind,
                default,
                info.unit,
                info.choices,
                info.minimum,
                info.maximum,
                honoured,
            )
        )
    return found


def _names_of(entry: Entry) -> set[str]:
    return {f.name for f in dataclasses.fields(entry.settings)}


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def checked_options(values: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """Return the options of a request, with the model named; plain values, as they go into the record.

    Raises:
        RefusedError: A name is not offered, or a value is wrong.
    """
    fields = {field.name: field for field in fields_for(models)}
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        if name not in fields:
            raise _refused(f"option {name!r} is not offered here", "GET /api/v1/options lists what is")
    model = given.setdefault("model", fields["model"].default)
    if model not in models:
        raise _refused(f"model {model!r} is not offered here", f"choose one of {', '.join(models)}")
    for name in given:
        honoured = fields[name].models
        if honoured is not None and model not in honoured:
            raise _refused(f"model {model} has no use for {name}", "leave it out")
    try:
        checked = options_from(given)
    except (StarVsrError, TypeError, ValueError) as error:
        raise _refused(str(error), "correct it; GET /api/v1/options tells what each option takes") from None
    return {name: _plain(getattr(checked, name)) for name in given}


def job_options(
    values: Mapping[str, Any], limits: Mapping[str, Any], *, device: str, memory: int | None, threads: int | None
) -> UpscaleOptions:
    """Return all options of a job: the user's, and above them what the operator decides.

    Raises:
        OptionError: They contradict each other.
    """
    from starvsr.families.loading import reads_text
    from starvsr.families.settings import NO_TEXTS

    fixed: dict[str, Any] = {**limits, "device": device}
    if memory is not None:
        fixed["memory"] = memory
    if threads is not None:
        fixed["threads"] = threads
    options = options_from({**values, **fixed})
    if reads_text(options) and options.prompt is None:  # a text beside a file of the host is not the user's
        options = dataclasses.replace(options, prompt_from=NO_TEXTS)
    return options


def _refused(why: str, next_step: str) -> RefusedError:
    return RefusedError(422, "wrong_option", "the options were refused", why, next_step)


__all__ = ["Field", "OptionError", "checked_options", "fields_for", "job_options", "offered_models"]
