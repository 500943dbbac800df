"""How each family is trained: one module for each, and this table of them.

A family is added as a module with a :class:`~starvsr.training.family.TrainingFamily` and a line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from starvsr.errors import OptionError
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.entry import Entry
from starvsr.families.registry import MODELS, get_entry
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.training.config import TrainConfig
from starvsr.training.families.causal_sr import CausalSRTraining
from starvsr.training.families.stablevsr import StableVSRTraining
from starvsr.training.families.stablevsr_guidance_decoder import GuidanceDecoderTraining
from starvsr.training.families.star_cogvideox import StarCogVideoXTraining
from starvsr.training.families.star_i2vgen import StarI2VGenTraining
from starvsr.training.families.star_small import StarSmallTraining
from starvsr.training.family import TrainingFamily
from starvsr.training.model import Start, TrainingModel
from starvsr.training.objectives import OBJECTIVES

FAMILIES: dict[type[Entry], type[TrainingFamily[Any]]] = {
    StarSmallSpec: StarSmallTraining,
    StarI2VGenSpec: StarI2VGenTraining,
    StarCogVideoXSpec: StarCogVideoXTraining,
    CausalSRSpec: CausalSRTraining,
    StableVSRSpec: StableVSRTraining,
}
"""By the kind of a model's entry in the registry."""

OTHER_PARTS: dict[type[Entry], tuple[type[TrainingFamily[Any]], ...]] = {
    StableVSRSpec: (GuidanceDecoderTraining,),
}
"""What else of a model is trained, each part by an objective of its own."""


def family_of(model: str, objective: str = "") -> TrainingFamily[Any]:
    """Return how a model of the registry is trained.

    Args:
        model: its name.
        objective: of a recipe's first stage, which decides what of the model trains.

    Raises:
        OptionError: an unknown model, or one that has nothing to train.
    """
    entry = get_entry(model)
    if type(entry) not in FAMILIES:
        known = ", ".join(name for name, other in MODELS.items() if type(other) in FAMILIES)
        raise OptionError(f"{model} cannot be trained: choose from {known}")
    kinds = [FAMILIES[type(entry)], *OTHER_PARTS.get(type(entry), ())]
    wanted = OBJECTIVES[objective].model if objective else TrainingModel
    chosen = next((kind for kind in kinds if issubclass(kind.model, wanted)), kinds[0])
    return chosen(entry)


def build_model(
    config: TrainConfig,
    device: torch.device | str = "cpu",
    *,
    start_from: Path | None = None,
    begun: Start | None = None,
) -> TrainingModel:
    """Build what a recipe trains, see :meth:`TrainingFamily.build`.

    Raises:
        OptionError: an unknown model, or one that has nothing to train.
        DataError: the recipe asks for what the model does not have.
        WeightsError: weights that are missing, damaged or of another model.
    """
    family = family_of(config.model, config.stage[0].objective if config.stage else "")
    family.check(config)
    return family.build(config, device, start_from=start_from, begun=begun)
