"""How models that sample save time."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.options.info import SPEED, option


@dataclass(frozen=True)
class SpeedOptions:
    """How models that sample save time."""

    guidance_interval: str | None = option(
        None,
        "Guide only at these timesteps, as 300:700 (default: at all): half the work at the others. Costs quality.",
        SPEED,
        "interval",
        minimum=0,
        maximum=999,
        model=True,
    )
    feature_cache: int | None = option(
        None,
        "Compute the coarse levels of the network only every so many steps (default: 1, every step). Costs quality.",
        SPEED,
        "int",
        unit="steps",
        minimum=1,
        maximum=1000,
        model=True,
    )
    guidance_pair: str | None = option(
        None,
        "Ask for both prompts in one call (together: less work, more memory) or in two (default: apart).",
        SPEED,
        "text",
        choices=("apart", "together"),
        model=True,
    )
    attention: str | None = option(
        None,
        "Kernel of the network's attention (default: auto, which leaves it to torch).",
        SPEED,
        "text",
        choices=("auto", "flash", "efficient", "math", "cudnn"),
        model=True,
    )
    compile: str | None = option(
        None,
        "Compile the network's blocks in the first step, in this mode of torch.compile (default: do not).",
        SPEED,
        "text",
        choices=("default", "reduce-overhead", "max-autotune"),
        model=True,
    )
