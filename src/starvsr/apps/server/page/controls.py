"""A Gradio component for each field of the form; `static/settings.js` reads their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from starvsr.apps.server.fields import Field
from starvsr.apps.server.places import CONTAINERS

DEFAULT = "default"
"""What a menu shows for an option that is left to the model or the encoder."""

BASIC = ("model", "scale", "detail", "sharpen")
RANGE = ("start", "duration")
_SHOWN = frozenset({*BASIC, *RANGE, "crf"})
_MIN_WIDTH_PX = {"model": 200, "detail": 320}
_LABELS = {"crf": "Quality (CRF)", "start": "From", "duration": "Length"}


def control(field: Field) -> Any:
    """Make the component of a field; its ``elem_id`` is ``field-NAME``."""
    shown: dict[str, Any] = {
        "label": _LABELS.get(field.name, field.name.replace("_", " ").capitalize()),
        "info": field.help.split(". ")[0].removesuffix(".") + ".",
        "elem_id": f"field-{field.name}",
        "elem_classes": ["starvsr-field"],
        "interactive": True,
        "min_width": _MIN_WIDTH_PX.get(field.name, 140),
    }
    if field.kind == "flag":
        return gr.Checkbox(bool(field.default), **shown)
    if field.choices and field.kind == "text":
        choices = list(field.choices) if field.default is not None else [DEFAULT, *field.choices]
        return gr.Dropdown(choices, value=field.default if field.default is not None else DEFAULT, **shown)
    if field.name == "detail":
        return gr.Slider(0, 1, value=1 if field.default is None else field.default, step=0.05, **shown)
    if field.kind in ("int", "float") and not field.choices and field.default is not None:
        step = 1 if field.kind == "int" else 0.1
        shown |= {"minimum": field.minimum, "maximum": field.maximum, "step": step}
        return gr.Number(field.default, precision=0 if field.kind == "int" else None, placeholder=DEFAULT, **shown)
    text = "" if field.default is None else str(field.default)  # a number may be left out, which `gr.Number` shows as 0
    return gr.Textbox(text, lines=1, max_lines=1, placeholder=DEFAULT, **shown)


def container_control() -> Any:
    """Make the menu of the result's container."""
    return gr.Dropdown(
        [suffix.removeprefix(".") for suffix in CONTAINERS],
        value="mp4",
        label="File type",
        info="Of the result; of an image, mp4 means png.",
        elem_id="field-container",
        elem_classes=["starvsr-field"],
        interactive=True,
        min_width=140,
    )


def further_groups(fields: Sequence[Field]) -> dict[str, list[Field]]:
    """Return the fields that are not among the basic ones, by heading, in their order."""
    groups: dict[str, list[Field]] = {}
    for field in fields:
        if field.name not in _SHOWN:
            groups.setdefault(field.group, []).append(field)
    return groups
