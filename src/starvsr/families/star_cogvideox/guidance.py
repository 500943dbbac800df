"""How strongly the prompt counts at each step: the published guidance, and two smoother ones.

Source: dynamic classifier-free guidance of CogVideoX (arXiv 2408.06072) as the released code of STAR evaluates it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from starvsr.families.star_cogvideox.schedule import NUM_TIMESTEPS, Step

Curve = Literal["released", "smooth", "constant"]
CURVES: tuple[Curve, ...] = get_args(Curve)
GUIDANCE = 7.0
"""Largest weight of the published guidance, there written as 1 + 6."""
NEGLIGIBLE = 1e-5
"""A weight this close to 1 changes nothing that float32 shows: the pass without prompt is left out."""
_EXPONENT = 5


@dataclass(frozen=True)
class GuidanceCurve:
    """The weight of the prompt over the steps.

    The clean estimate is ``without + weight * (with - without)``; a weight of 1 needs the prompt alone.

    Attributes:
        largest: Largest weight, at least 1.
        form: "released" is the published formula. It takes the timestep (0 to 999) where the number of the step was
            meant, so the weight jumps between 1 and ``largest`` in a way that depends on the number of steps. "smooth"
            is what was meant: the weight rises from 1 in the first step to nearly ``largest`` in the last one.
            "constant" is ``largest`` in every step.
    """

    largest: float = GUIDANCE
    form: Curve = "released"

    def at(self, step: Step, num_steps: int) -> float:
        """Return the weight of a step; float64, which the published formula needs."""
        if self.form == "constant":
            return self.largest
        left = step.timestep if self.form == "released" else num_steps * step.timestep / (NUM_TIMESTEPS - 1)
        angle = math.pi * ((num_steps - left) / num_steps) ** _EXPONENT
        return 1 + (self.largest - 1) * (1 - math.cos(angle)) / 2

    def asks_twice(self, step: Step, num_steps: int) -> bool:
        """Whether the network is asked without the prompt, too."""
        return abs(self.at(step, num_steps) - 1) >= NEGLIGIBLE
