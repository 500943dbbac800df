"""Noise schedules: what one noise level means, and which levels a solver visits.

A schedule is two float32 tables, `alphas` and `sigmas`, one entry per integer timestep t:

    x_t = alphas[t] * x0 + sigmas[t] * noise          (alphas**2 + sigmas**2 = 1)
    v   = alphas[t] * noise - sigmas[t] * x0

Solvers do not count in timesteps but in *levels* k = sigma / alpha, which fall from "only noise" (inf) to 0.
Between two integer timesteps the logarithm of the level is interpolated linearly.

Tables, step lists and the way back from level to timestep are computed in float64 and rounded to float32 once, on the
CPU: the logarithms and exponentials of two processors may differ in their last bit, and at float32 that bit decides
which timestep the network is asked at.

This file knows neither networks nor solvers.

Source: STAR (arXiv 2501.02976) as released for I2VGen-XL; Progressive Distillation (arXiv 2202.00512) for v;
"Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891) for the zero terminal
signal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from starvsr.errors import OptionError

STAR_NUM_LEVELS = 1000
STAR_T_MAX = 899
"""Timestep at which STAR starts: the low-resolution latents with 90 % of the levels' noise."""

TIMESTEP_GRID = 1000
"""Fractional timesteps are rounded to 1/1000 before they become integers.

A float32 level gives its timestep to within 2e-5. A step list's timestep that lies halfway between two integers is
therefore exactly halfway again on this grid, on every processor.
"""

_FAST_MIDPOINT = 500
_FAST_COARSE_STEPS = 4
_FAST_FINE_STEPS = 11


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A variance-preserving noise schedule.

    Made from tables of any precision; give float64 where there is more than float32 to tell.

    Attributes:
        alphas: float32 [N], share of the clean signal at each timestep, falling.
        sigmas: float32 [N], share of the noise at each timestep, rising; alphas**2 + sigmas**2 = 1.
        log_levels: float64 [N] on the CPU, ln(sigma / alpha) of the tables as given; inf where no signal is left.
    """

    alphas: Tensor
    sigmas: Tensor
    log_levels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Check that the two tables belong together, and round them."""
        if self.alphas.ndim != 1 or self.alphas.shape != self.sigmas.shape or len(self.alphas) < 2:
            raise OptionError(
                "alphas and sigmas must be two tables of the same length (at least 2), not of shape "
                f"{tuple(self.alphas.shape)} and {tuple(self.sigmas.shape)}"
            )
        alphas, sigmas = self.alphas.cpu().double(), self.sigmas.cpu().double()
        object.__setattr__(self, "log_levels", sigmas.log() - alphas.log())
        object.__setattr__(self, "alphas", self.alphas.float())
        object.__setattr__(self, "sigmas", self.sigmas.float())

    @classmethod
    def from_log_snr(cls, log_snr: Tensor, *, zero_terminal_snr: bool) -> NoiseSchedule:
        """Build the schedule of given log signal-to-noise ratios.

        Args:
            log_snr: float64 [N], falling.
            zero_terminal_snr: stretch the noise shares linearly so that the last is exactly 1 (no signal) and the
                first stays.
        """
        sigmas, signal = sigmas_from_log_snr(log_snr), torch.sigmoid(log_snr)
        if not zero_terminal_snr:
            return cls(signal.sqrt(), sigmas)
        first, last = sigmas[0], sigmas[-1]
        stretch = (1 - first) / (last - first)
        rescaled = first + stretch * (sigmas - first)
        missing = stretch * (signal - signal[-1]) / (last + sigmas)  # 1 - rescaled, not lost in a difference of ones
        rescaled[-1] = 1.0
        return cls((missing * (1 + rescaled)).sqrt(), rescaled)

    @property
    def num_levels(self) -> int:
        """Number of timesteps."""
        return len(self.alphas)

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """Return the same schedule with its tables on another device; levels are always computed on the CPU."""
        moved = NoiseSchedule(self.alphas.to(device), self.sigmas.to(device))
        object.__setattr__(moved, "log_levels", self.log_levels)
        return moved

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Look up alpha and sigma of timesteps, shaped to multiply a batch.

        Args:
            t: int64 [B] (or [] for one timestep of the whole batch), 0 <= t < num_levels.
            like: the batch [B, ...] to broadcast over.

        Returns:
            alpha and sigma, float32 [B, 1, ..., 1] on the device of `like`.
        """
        t = t.to(self.alphas.device)
        shape = (-1, *([1] * (like.ndim - 1)))
        return self.alphas[t].view(shape).to(like.device), self.sigmas[t].view(shape).to(like.device)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Diffuse clean latents to timestep t.

        Args:
            x0: clean latents [B, C, T, h, w].
            noise: unit normal noise of the same shape.
            t: int64 [B].

        Returns:
            alpha * x0 + sigma * noise, the same shape.
        """
        alpha, sigma = self.coefficients(t, x0)
        return alpha * x0 + sigma * noise

    def velocity(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Training target of a v-predicting network: alpha * noise - sigma * x0 ([B, ...], t int64 [B])."""
        alpha, sigma = self.coefficients(t, x0)
        return alpha * noise - sigma * x0

    def velocity_from_x0(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Velocity that leads from x_t to x0: (alpha * x_t - x0) / sigma. Rounding grows as 1 / sigma."""
        alpha, sigma = self.coefficients(t, x_t)
        return (alpha * x_t - x0) / sigma

    def x0_from_velocity(self, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """Clean estimate from a velocity: alpha * x_t - sigma * v."""
        alpha, sigma = self.coefficients(t, x_t)
        return alpha * x_t - sigma * v

    def eps_from_velocity(self, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """Noise estimate from a velocity: sigma * x_t + alpha * v."""
        alpha, sigma = self.coefficients(t, x_t)
        return sigma * x_t + alpha * v

    def level_at(self, t: Tensor) -> Tensor:
        """Solver level of (fractional) timesteps.

        Args:
            t: float [n], 0 <= t <= num_levels - 1.

        Returns:
            float32 [n] on the device of `t`; inf where the interpolation touches a timestep without signal.
        """
        exact = t.cpu().double()
        low, high, weight = exact.floor().long(), exact.ceil().long(), exact.frac()
        log_level = (1 - weight) * self.log_levels[low] + weight * self.log_levels[high]
        level = torch.where(log_level.isfinite(), log_level, torch.inf).exp()  # 0 * inf is not a number
        return level.float().to(t.device)

    def timestep_at(self, level: Tensor) -> Tensor:
        """Fractional timestep of solver levels, the inverse of `level_at`.

        Args:
            level: float [n], >= 0; below the table it is timestep 0; only inf is a timestep without signal.

        Returns:
            float64 [n] on the CPU.
        """
        exact = level.cpu().double()
        log_level, table = exact.log(), self.log_levels
        high = torch.searchsorted(table, log_level, right=True).clamp(1, self.num_levels - 1)
        low = high - 1
        weight = ((table[low] - log_level) / (table[low] - table[high])).clamp(0, 1)
        t = (1 - weight) * low + weight * high
        return torch.where(exact.isposinf(), float(self.num_levels - 1), t)

    def integer_timestep_at(self, level: Tensor) -> Tensor:
        """Timestep for the network at a solver level.

        `timestep_at` rounded to 1e-3, then half to even: 844.4999996 on one processor and 844.5000004 on another are
        both 844.5, and so 844.

        Returns:
            int64 [n] on the device of `level`.
        """
        t = (self.timestep_at(level) * TIMESTEP_GRID).round() / TIMESTEP_GRID
        return t.round().long().to(level.device)

    def levels_of(self, timesteps: list[float]) -> Tensor:
        """Turn the timesteps of a step list into solver levels.

        Appends the clean level 0 and drops the last noisy level ("discard penultimate"), so m timesteps give
        m - 1 network evaluations.

        Returns:
            float32 [m]: falling, the last one 0; the first is inf if the first timestep has no signal left.
        """
        if len(timesteps) < 2:
            raise OptionError(f"a step list needs at least 2 timesteps, not {len(timesteps)}")
        t = torch.tensor(timesteps, dtype=torch.float64).clamp(0, self.num_levels - 1)
        return torch.cat([self.level_at(t)[:-1], torch.zeros(1)])

    def fast(self, t_max: int = STAR_T_MAX, t_min: int = 0) -> Tensor:
        """STAR's "fast" step list: 4 coarse steps above timestep 500, then fine ones; 14 network evaluations.

        Returns:
            solver levels, float32 [15].
        """
        self._check_range(t_max, t_min, lowest_t_max=_FAST_MIDPOINT)
        coarse = (t_max - _FAST_MIDPOINT + 1) / _FAST_COARSE_STEPS
        fine = (_FAST_MIDPOINT - t_min + 1) / _FAST_FINE_STEPS
        return self.levels_of(
            [t_max - i * coarse for i in range(_FAST_COARSE_STEPS)]
            + [_FAST_MIDPOINT - i * fine for i in range(_FAST_FINE_STEPS)]
        )

    def normal(self, num_steps: int, t_max: int = STAR_T_MAX, t_min: int = 0) -> Tensor:
        """Evenly spaced ("trailing") step list with `num_steps` network evaluations.

        Returns:
            solver levels, float32 [num_steps + 1].
        """
        if num_steps < 1:
            raise OptionError(f"num_steps must be at least 1, not {num_steps}")
        self._check_range(t_max, t_min, lowest_t_max=0)
        stride = (t_max - t_min + 1) / (num_steps + 1)
        return self.levels_of([t_max - i * stride for i in range(num_steps + 1)])

    def _check_range(self, t_max: int, t_min: int, lowest_t_max: int) -> None:
        if not (lowest_t_max <= t_max < self.num_levels and 0 <= t_min < max(t_max, 1)):
            raise OptionError(
                f"t_max must lie in [{lowest_t_max}, {self.num_levels - 1}] and t_min in [0, t_max), "
                f"not t_max={t_max}, t_min={t_min}"
            )


def interpolated_cosine_log_snr(
    num_levels: int = STAR_NUM_LEVELS,
    log_snr_min: float = -15.0,
    log_snr_max: float = 15.0,
    scale_min: float = 2.0,
    scale_max: float = 4.0,
) -> Tensor:
    """Log signal-to-noise ratio of the cosine schedule, shifted for larger pictures.

    The shift 2 ln(1 / scale) moves from `scale_min` at the clean end to `scale_max` at the noisy end.

    Returns:
        float64 [num_levels], falling.
    """
    u = torch.arange(num_levels - 1, -1, -1, dtype=torch.float64) / (num_levels - 1)
    first, last = math.atan(math.exp(-0.5 * log_snr_min)), math.atan(math.exp(-0.5 * log_snr_max))
    log_snr = -2 * torch.log(torch.tan(first + u * (last - first)))
    return u * (log_snr + 2 * math.log(1 / scale_min)) + (1 - u) * (log_snr + 2 * math.log(1 / scale_max))


def sigmas_from_log_snr(log_snr: Tensor) -> Tensor:
    """Noise share of a variance-preserving schedule with the given log signal-to-noise ratios, same shape."""
    return torch.sqrt(torch.sigmoid(-log_snr))


def star_schedule() -> NoiseSchedule:
    """Build the schedule of STAR on I2VGen-XL: 1000 levels, cosine, shift 2 to 4, zero terminal signal.

    Source: released code of STAR (arXiv 2501.02976).
    """
    return NoiseSchedule.from_log_snr(interpolated_cosine_log_snr(), zero_terminal_snr=True)
