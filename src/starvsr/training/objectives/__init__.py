"""What training steps compute: one module for each objective, and this table of them.

An objective is added as a module with its :class:`~starvsr.training.objectives.objective.Objective` and a line here.
"""

from __future__ import annotations

from starvsr.training.objectives.consistency import CONSISTENCY
from starvsr.training.objectives.distribution_matching import DISTRIBUTION_MATCHING
from starvsr.training.objectives.guidance_decoder import GUIDANCE_DECODER
from starvsr.training.objectives.objective import Objective
from starvsr.training.objectives.one_step import ONE_STEP
from starvsr.training.objectives.regression import REGRESSION
from starvsr.training.objectives.star_lora import STAR_LORA
from starvsr.training.objectives.temporal_conditioning import TEMPORAL_CONDITIONING
from starvsr.training.objectives.velocity import STAR, VELOCITY

OBJECTIVES: dict[str, Objective] = {
    "velocity": VELOCITY,
    "star": STAR,
    "star-lora": STAR_LORA,
    "one-step": ONE_STEP,
    "consistency": CONSISTENCY,
    "distribution-matching": DISTRIBUTION_MATCHING,
    "regression": REGRESSION,
    "temporal-conditioning": TEMPORAL_CONDITIONING,
    "guidance-decoder": GUIDANCE_DECODER,
}
"""By the names that recipes use."""
