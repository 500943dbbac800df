"""Ancestral sampling (DDPM) over integer timesteps, set up from a scheduler file of the hub.

StableVSR needs what solvers over noise levels do not have: the clean estimate of each step is handed on to the next
frame before the step is taken. Clean estimate and step are therefore apart here.

    x_t = sqrt(abar_t) * x0 + sqrt(1 - abar_t) * noise            abar = cumulative product of 1 - beta

Tables and coefficients are computed in float64; tensors keep their type. Noise is added, and velocities are made, by a
`starvsr.diffusion.schedules.NoiseSchedule` of the same table.

Source: DDPM (arXiv 2006.11239), Progressive Distillation (arXiv 2202.00512) for v-prediction; field names and defaults
are those of ``scheduler_config.json`` as DDPM schedulers write it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import OptionError

_SMALLEST_VARIANCE = 1e-20
_BETA_SCHEDULES = ("linear", "scaled_linear")
_PREDICTIONS = ("epsilon", "sample", "v_prediction")
_SPACINGS = ("leading", "linspace", "trailing")


@dataclass(frozen=True)
class DDPMConfig:
    """What a scheduler file says; a field that it leaves out has DDPM's default.

    Attributes:
        num_train_timesteps: number N of timesteps of training.
        beta_start: first beta.
        beta_end: last beta.
        beta_schedule: "linear", or "scaled_linear" (linear in the square root).
        trained_betas: the betas themselves, in place of the three fields above.
        prediction_type: what the network predicts: "epsilon", "sample" (x0) or "v_prediction".
        clip_sample: whether clean estimates are clamped. DDPM's default is True, which destroys latents: a scheduler
            file for latents must say False.
        clip_sample_range: to [-range, range].
        timestep_spacing: "leading", "linspace" or "trailing".
        steps_offset: added to the timesteps of "leading".
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    timestep_spacing: str = "leading"
    steps_offset: int = 0

    def __post_init__(self) -> None:
        """Refuse what is unknown.

        Raises:
            OptionError: an unknown schedule, prediction or spacing.
        """
        for name, known in (
            ("beta_schedule", _BETA_SCHEDULES),
            ("prediction_type", _PREDICTIONS),
            ("timestep_spacing", _SPACINGS),
        ):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} of the scheduler is {getattr(self, name)!r}; known are {', '.join(known)}")
        if self.num_train_timesteps < 1:
            raise OptionError(f"num_train_timesteps of the scheduler is {self.num_train_timesteps}, not at least 1")

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> DDPMConfig:
        """Read the entries of ``scheduler_config.json``. A file of a DDIM scheduler does, too; other keys are ignored.

        Raises:
            OptionError: what would change sampling and is not supported: a variance that is learned or large,
                dynamic thresholding, betas rescaled to zero terminal SNR; or a value that is unknown.
        """
        for name, accepted in (
            ("variance_type", ("fixed_small", None)),
            ("thresholding", (False, None)),
            ("rescale_betas_zero_snr", (False, None)),
        ):
            if entries.get(name) not in accepted:
                raise OptionError(f"the scheduler file asks for {name} = {entries[name]!r}, which is not supported")
        known = {entry.name for entry in fields(cls)}
        chosen = {name: value for name, value in entries.items() if name in known}
        if chosen.get("trained_betas") is not None:
            chosen["trained_betas"] = tuple(chosen["trained_betas"])
        return cls(**chosen)


@dataclass(frozen=True, eq=False)
class DDPM:
    """The schedule and its steps.

    Attributes:
        config: what the scheduler file says.
        alphas_cumprod: float64 [N] on the CPU, abar.
    """

    config: DDPMConfig = field(default_factory=DDPMConfig)
    alphas_cumprod: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Compute the table."""
        object.__setattr__(self, "alphas_cumprod", torch.cumprod(1 - self.betas, 0))

    @property
    def betas(self) -> Tensor:
        """float64 [N]."""
        config = self.config
        if config.trained_betas is not None:
            return torch.tensor(config.trained_betas, dtype=torch.float64)
        root = 2 if config.beta_schedule == "scaled_linear" else 1
        ends = config.beta_start ** (1 / root), config.beta_end ** (1 / root)
        return torch.linspace(*ends, config.num_train_timesteps, dtype=torch.float64) ** root

    def timesteps(self, num_steps: int) -> list[tuple[int, int]]:
        """Choose (timestep, previous timestep) of each step, falling; a previous one below 0 means "clean".

        The previous timestep is N // num_steps below, as the released StableVSR takes it, whatever the spacing.

        Raises:
            OptionError: more steps than there are timesteps, or a list that would leave the schedule.
        """
        config, total = self.config, self.config.num_train_timesteps
        if not 1 <= num_steps <= total:
            raise OptionError(f"a number of steps must be 1 to {total}, not {num_steps}")
        stride = total // num_steps
        if config.timestep_spacing == "leading":
            chosen = [k * stride + config.steps_offset for k in reversed(range(num_steps))]
        elif config.timestep_spacing == "linspace":
            gaps = max(1, num_steps - 1)  # of whole numbers, half to even: no float decides
            chosen = [_half_to_even(k * (total - 1), gaps) for k in reversed(range(num_steps))]
        else:
            chosen = [_half_to_even((num_steps - k) * total, num_steps) - 1 for k in range(num_steps)]
        if chosen[0] >= total:
            raise OptionError(
                f"{num_steps} steps with a steps_offset of {config.steps_offset} begin at timestep {chosen[0]}, beyond "
                f"the last, {total - 1}: choose fewer steps"
            )
        return [(t, t - stride) for t in chosen]

    def custom_timesteps(self, chosen: Sequence[int]) -> list[tuple[int, int]]:
        """Pair given timesteps, which must fall, with the next ones; the last leads to the clean result.

        Raises:
            OptionError: an empty list, one that does not fall, or one that leaves 0..N-1.
        """
        falls = all(first > second for first, second in itertools.pairwise(chosen))
        if not chosen or not falls or not 0 <= chosen[-1] <= chosen[0] < self.config.num_train_timesteps:
            raise OptionError(
                f"timesteps must fall and lie in 0..{self.config.num_train_timesteps - 1}, not {list(chosen)}"
            )
        return list(zip(chosen, [*chosen[1:], -1], strict=True))

    def clean(self, predicted: Tensor, x: Tensor, timestep: int) -> Tensor:
        """Return the clean estimate x0 that a prediction means, clamped if the scheduler says so.

        Args:
            predicted: the network's output, of the shape of x.
            x: the noisy sample at ``timestep``, any shape.
            timestep: 0..N-1.
        """
        abar = float(self.alphas_cumprod[timestep])
        alpha, sigma = math.sqrt(abar), math.sqrt(1 - abar)
        if self.config.prediction_type == "v_prediction":
            x0 = alpha * x - sigma * predicted
        elif self.config.prediction_type == "epsilon":
            x0 = (x - sigma * predicted) / alpha
        else:
            x0 = predicted
        limit = self.config.clip_sample_range
        return x0.clamp(-limit, limit) if self.config.clip_sample else x0

    def variance(self, timestep: int, previous: int) -> float:
        """Return the variance of the step from ``timestep`` to ``previous``, at least 1e-20."""
        abar, abar_previous = self._abar(timestep), self._abar(previous)
        return max((1 - abar_previous) / (1 - abar) * (1 - abar / abar_previous), _SMALLEST_VARIANCE)

    def step(self, x0: Tensor, x: Tensor, timestep: int, previous: int, noise: Tensor | None) -> Tensor:
        """Return the sample at ``previous``.

        Args:
            x0: the clean estimate at ``timestep``.
            x: the sample at ``timestep``, of the same shape.
            timestep: 0..N-1.
            previous: the timestep to go to; below 0 is clean.
            noise: unit normal, of the same shape; not used, and may be None, at timestep 0.
        """
        abar, abar_previous = self._abar(timestep), self._abar(previous)
        ratio = abar / abar_previous
        mean = (math.sqrt(abar_previous) * (1 - ratio) / (1 - abar)) * x0
        mean = mean + (math.sqrt(ratio) * (1 - abar_previous) / (1 - abar)) * x
        if timestep == 0:
            return mean
        if noise is None:
            raise ValueError("a step from a timestep above 0 needs noise")
        return mean + math.sqrt(self.variance(timestep, previous)) * noise

    def _abar(self, timestep: int) -> float:
        return float(self.alphas_cumprod[timestep]) if timestep >= 0 else 1.0


def _half_to_even(numerator: int, denominator: int) -> int:
    """Round a fraction of whole numbers to the nearest one, halves to the even one."""
    whole, rest = divmod(numerator, denominator)
    if 2 * rest == denominator:
        return whole + whole % 2
    return whole + (2 * rest > denominator)
