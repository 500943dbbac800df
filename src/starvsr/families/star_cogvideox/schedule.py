"""The noise schedule of STAR on CogVideoX: the table that the network knows, and the steps of the sampler.

x_t = a * x0 + sqrt(1 - a^2) * noise, with a the square root of the cumulative product of the alphas. The network knows
the a of 1000 timesteps. The sampler stretches the a of its own steps alone so that the first is exactly 0 (nothing but
noise), so its a are not in the table: the network is asked at the nearest entry.

Tables are computed in float64 and rounded to float32 once.

Source: released code of STAR (arXiv 2501.02976) for CogVideoX; zero terminal SNR of arXiv 2305.08891.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from starvsr.errors import OptionError

NUM_TIMESTEPS = 1000
NUM_STEPS = 50
_BETA_START, _BETA_END = 0.00085, 0.012


@dataclass(frozen=True)
class Step:
    """One step of the sampler.

    Attributes:
        index: Its number, from 0.
        timestep: Integer timestep for the network, 0 ... 999.
        alpha: a of the latents before the step.
        target: a of the latents after the step; 1 in the last one.
        known: Entry of the network's table that is nearest to ``alpha``.
    """

    index: int
    timestep: int
    alpha: float
    target: float
    known: float


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of a sampler, from pure noise to the clean latents.

    Attributes:
        timesteps: int64 [n], falling.
        alphas: float32 [n + 1], a before each step, rising from 0; the last one is 1.
        known: float32 [n], nearest entries of the network's table.
    """

    timesteps: Tensor
    alphas: Tensor
    known: Tensor

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.timesteps)

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps in order."""
        alphas = self.alphas.tolist()
        rows = zip(self.timesteps.tolist(), alphas, alphas[1:], self.known.tolist(), strict=False)
        for index, (timestep, alpha, target, known) in enumerate(rows):
            yield Step(index, timestep, alpha, target, known)


@dataclass(frozen=True, eq=False)
class CogVideoXSchedule:
    """The schedule of one model.

    Attributes:
        snr_shift: Divides the signal-to-noise ratio of every timestep: 1 for the 5B, 3 for the 2B.
    """

    snr_shift: float = 1.0

    def _signal(self) -> Tensor:
        """Return a of each timestep before the zero-terminal stretch, float64 [1000], falling."""
        betas = torch.linspace(_BETA_START**0.5, _BETA_END**0.5, NUM_TIMESTEPS, dtype=torch.float64) ** 2
        squared = (1 - betas).cumprod(0)
        return (squared / (self.snr_shift + (1 - self.snr_shift) * squared)).sqrt()

    def table(self) -> Tensor:
        """Return a of each timestep as the network knows it, float32 [1000], falling to 0."""
        return _zero_terminal(self._signal()).float()

    def steps(self, num_steps: int) -> Steps:
        """Return the steps of the sampler.

        Args:
            num_steps: How many, 1 to 1000.

        Raises:
            OptionError: There are not so many timesteps.
        """
        if not 1 <= num_steps <= NUM_TIMESTEPS:
            raise OptionError(f"--steps must lie in 1 to {NUM_TIMESTEPS}, not {num_steps}")
        last = NUM_TIMESTEPS - 1
        timesteps = torch.tensor([last - -(-last * i // num_steps) for i in range(num_steps)])
        alphas = _zero_terminal(self._signal()[timesteps].flip(0)).flip(0).float()
        table = self.table()
        nearest = (alphas[:, None] - table).abs().argmin(1)
        return Steps(timesteps, torch.cat([alphas, torch.ones(1)]), table[nearest])


def _zero_terminal(signal: Tensor) -> Tensor:
    """Stretch falling values so that the first one stays and the last one is 0."""
    if len(signal) == 1:
        return torch.zeros_like(signal)
    first, last = signal[0], signal[-1]
    return (signal - last) * (first / (first - last))
