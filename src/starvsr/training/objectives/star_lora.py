"""STAR's way of training on CogVideoX: velocity and dynamic frequency loss, for LoRA and the parts that are new."""

from __future__ import annotations

from starvsr.training.objectives.objective import Objective
from starvsr.training.objectives.tables import VelocityStage
from starvsr.training.objectives.velocity import decodes, velocity
from starvsr.training.star_cogvideox import StarCogVideoXModel

STAR_LORA = Objective(
    model=StarCogVideoXModel,
    tables=VelocityStage,
    compute=velocity,
    trains="lora,liem,patch,final",
    teaches_all_levels=True,
    decodes=decodes,
)
"""Those are the tensors that the released code trains; all others stay as CogVideoX has them."""
