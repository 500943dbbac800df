"""Options of STAR on I2VGen-XL: texts, guidance, speed, and the choices of the released code. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starvsr.errors import OptionError
from starvsr.families.settings import (
    RELEASED,
    ExactSettings,
    PrecisionSettings,
    PromptGuidanceSettings,
    SamplingSettings,
    WindowSettings,
)
from starvsr.options.info import MODEL, option

SPEED = "Speed of models that sample"


@dataclass(frozen=True)
class GuidanceSettings(PromptGuidanceSettings):
    """How strongly the prompt is followed, which solver samples, and where its steps lie."""

    sampler: str | None = option(
        None,
        "Solver: dpmpp-2m-sde (default, adds noise in each step), ddim (none), heun (none; two evaluations a step).",
        MODEL,
        "text",
        choices=("dpmpp-2m-sde", "ddim", "heun"),
    )
    step_list: str | None = option(
        None,
        "Where the sampling steps lie: fast (14 steps, the default for 14) or normal (evenly, any number).",
        MODEL,
        "text",
        choices=("fast", "normal"),
    )


@dataclass(frozen=True)
class SpeedSettings:
    """How sampling saves time."""

    guidance_interval: str | None = option(
        None,
        "Guide only at these timesteps, as 300:700 (default: at all): half the work at the others. Costs quality.",
        SPEED,
        "interval",
        minimum=0,
        maximum=999,
    )
    feature_cache: int | None = option(
        None,
        "Compute the coarse levels of the network only every so many steps (default: 1, every step). Costs quality.",
        SPEED,
        "int",
        unit="steps",
        minimum=1,
        maximum=1000,
    )
    guidance_pair: str | None = option(
        None,
        "Ask for both prompts in one call (together: less work, more memory) or in two (default: apart).",
        SPEED,
        "text",
        choices=("apart", "together"),
    )
    attention: str | None = option(
        None,
        "Kernel of the network's attention (default: auto, which leaves it to torch).",
        SPEED,
        "text",
        choices=("auto", "flash", "efficient", "math", "cudnn"),
    )
    compile: str | None = option(
        None,
        "Compile the network's blocks in the first step, in this mode of torch.compile (default: do not).",
        SPEED,
        "text",
        loads=True,
        choices=("default", "reduce-overhead", "max-autotune"),
    )


def _released_option(help: str, default: str) -> Any:
    """One choice between ours and the released STAR code's."""
    return option(None, help, RELEASED, "text", choices=(default, "released"))


@dataclass(frozen=True)
class ReferenceSettings(ExactSettings):
    """The choices of the released STAR code."""

    padding: str | None = _released_option(
        "Border around the frames: the least there must be, or up to 1280x720.", "minimal"
    )
    window_join: str | None = _released_option("Time windows: blended over a quarter, or cut hard.", "blend")
    decode_groups: str | None = _released_option("Decoding: overlapping groups of 8 frames, or 3 at a time.", "overlap")
    prompt_join: str | None = _released_option("Prompt: set off by a comma and kept whole, or run together.", "fit")
    rounding: str | None = _released_option(
        "To whole levels: rounded, or cut off (and colours matched by adain).", "nearest"
    )
    noise: str | None = _released_option(
        "Noise: the same for every cut and device, or as the script draws it.", "frames"
    )


@dataclass(frozen=True)
class StarI2VGenSettings(  # the fields of the last one come first
    ReferenceSettings,
    SpeedSettings,
    GuidanceSettings,
    PrecisionSettings,
    WindowSettings,
    SamplingSettings,
):
    """All options of the family."""


def check_colors(color: str | None, options: ReferenceSettings) -> None:
    """Refuse a colour transfer where the released rounding brings its own.

    Raises:
        OptionError: both were asked for.
    """
    if color is not None and (options.rounding or ("released" if options.exact else "")) == "released":
        raise OptionError(
            "--color has no use here, since the released rounding matches colours by adain: leave it out, or add "
            "--rounding nearest"
        )
