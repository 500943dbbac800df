"""What is trained where there are no latents: a :class:`CausalSR`, from low-quality pixels to the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from starvsr.diffusion.schedules import star_schedule
from starvsr.errors import DataError
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.registry import get_spec
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.codecs import PixelUnshuffleCodec
from starvsr.training.config import TrainConfig, check_value
from starvsr.training.trainee import Trainee


@dataclass
class CausalTrainee(Trainee):
    """A network whose output is the result; codec and schedule of the base are not used."""

    def one_step(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return the result [B, 3, T, H, W] of low-quality clips [B, 3, T, h, w], both in [-1, 1], float32.

        ``network`` is another one of the same kind in the place of the one that is trained.
        """
        with torch.autocast(lq.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            hq: Tensor = (network or self.network)(lq)
        return hq.float()


def build_causal_trainee(config: TrainConfig, device: torch.device | str = "cpu") -> CausalTrainee:
    """Build what a recipe for ``causal-sr`` trains.

    Raises:
        DataError: the recipe asks for what this network has not: published weights, another objective.
    """
    if config.init or config.models:
        raise DataError("recipe keys init and models are for published models: use --start-from with a file")
    other = [stage.objective for stage in config.stage if stage.objective != "regression"]
    if other:
        raise DataError(f'{config.model} is trained by objective = "regression" alone, not {other[0]!r}')
    spec = get_spec(config.model, CausalSRSpec)
    torch.manual_seed(config.seed)
    network = CausalSR(causal_config(spec.network, config.network))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    autocast = torch.bfloat16 if config.run.precision == "bf16" else None
    return CausalTrainee(spec, network, PixelUnshuffleCodec(), star_schedule(), autocast)


def causal_config(base: CausalSRConfig, changes: Mapping[str, Any]) -> CausalSRConfig:
    """Return the sizes of a network with a recipe's changes.

    Raises:
        DataError: a change names no size of the network, or has a value of the wrong type.
        OptionError: sizes that do not fit.
    """
    known = get_type_hints(CausalSRConfig)
    for name, value in changes.items():
        if name not in known:
            raise DataError(f"unknown recipe key network.{name}; known are {', '.join(sorted(known))}")
        check_value(f"network.{name}", value, known[name])
    return dataclasses.replace(base, **changes)
