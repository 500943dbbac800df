"""What the schemas of the nodes have in common: category, the socket of a model, widgets of a job (V3 schema)."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

from starvsr.apps.comfy.chosen_options import HELP

CATEGORY = "StarVSR"
MODEL = io.Custom("STARVSR_MODEL")


def schema(**fields: Any) -> Any:
    """Return a schema; what older versions of ComfyUI do not know of it is left out."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def job_inputs() -> list[Any]:
    """Return the widgets that both upscaling nodes have."""
    return [
        io.Float.Input(
            "scale",
            default=4.0,
            min=1.0,
            max=4.0,
            step=0.25,
            tooltip="How many times larger. Below 4 the model's result is reduced with an antialiased filter.",
        ),
        io.Float.Input(
            "detail",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How far the result goes from a plain enlargement (0) towards the model's own (1).",
        ),
        io.Int.Input("steps", default=0, min=0, max=1000, tooltip="Sampling steps; 0: the model's own number."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**53 - 1,  # the largest whole number that a browser keeps
            control_after_generate=True,
            tooltip="Seed of the noise. Models of one step draw none.",
        ),
        io.String.Input(
            "prompt",
            default="",
            multiline=True,
            optional=True,
            tooltip="What the video shows, for models that read text (star-light, star-heavy, star-cogvideox-5b, -2b).",
        ),
        io.String.Input("options", default="", multiline=True, optional=True, tooltip=HELP),
    ]
