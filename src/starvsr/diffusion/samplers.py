"""Samplers: one function each, one signature.

    sampler(denoise, x, sigmas, *, noise, on_step=None) -> x0

* `denoise(x_t, level)` gives the clean estimate of latents x_t = alpha * x0 + sigma * noise.
* `x` [B, C, T, h, w] is such a latent at `sigmas[0]`, float32: the first thing the network sees.
* `sigmas` float32 [n + 1] are solver levels sigma / alpha: falling, the last one 0; the first one may be inf
  (pure noise). First-order samplers make n evaluations.
* `noise(i)` is the unit normal noise that step i adds, of the shape of x; deterministic samplers never ask.
* `on_step(i, n, x0)` is called after each step's evaluation; raise in it to stop.

Inside, the state is x_t / alpha, so a step is `x0 + level * direction`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

from torch import Tensor

from starvsr.diffusion.denoiser import Denoise
from starvsr.errors import OptionError

Noise = Callable[[int], Tensor]
OnStep = Callable[[int, int, Tensor], None]


class Sampler(Protocol):
    """The signature that every sampler has."""

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep | None = None
    ) -> Tensor:
        """Return the clean latents, of the shape of x."""
        ...


def dpmpp_2m_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep | None = None) -> Tensor:
    """DPM-Solver++(2M) SDE, midpoint, eta 1, noise scale 1: the sampler of the released STAR code.

    Source: DPM-Solver++ (arXiv 2211.01095). Deviation from the released code: a single step works.
    """
    levels = _levels(sigmas)
    state = _start(x, levels[0])
    previous: tuple[Tensor, float] | None = None  # clean estimate and log step of the step before
    for i, (level, target) in enumerate(pairwise(levels)):
        x0 = denoise(_network_input(state, level), level)
        if on_step is not None:
            on_step(i, len(levels) - 1, x0)
        if target == 0:
            return x0
        if math.isinf(level):
            state = x0 + target * state  # the start is the noise itself; no history is kept from here
            continue
        step = math.log(level) - math.log(target)
        gain = -math.expm1(-2 * step)
        state = (target / level) * math.exp(-step) * state + gain * x0
        if previous is not None:
            state = state + 0.5 * gain * (step / previous[1]) * (x0 - previous[0])
        state = state + target * math.sqrt(gain) * noise(i)
        previous = x0, step
    return state


def ddim(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep | None = None) -> Tensor:
    """DDIM without noise: Euler's method on the probability-flow equation. Source: arXiv 2010.02502."""
    levels = _levels(sigmas)
    state = _start(x, levels[0])
    for i, (level, target) in enumerate(pairwise(levels)):
        x0 = denoise(_network_input(state, level), level)
        if on_step is not None:
            on_step(i, len(levels) - 1, x0)
        state = x0 + target * _direction(state, x0, level)
    return state


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep | None = None) -> Tensor:
    """Heun's method on the probability-flow equation: second order, two evaluations a step but the last.

    A first step from pure noise (level inf) has no finite length and is taken to first order.

    Source: EDM (arXiv 2206.00364), algorithm 1.
    """
    levels = _levels(sigmas)
    state = _start(x, levels[0])
    for i, (level, target) in enumerate(pairwise(levels)):
        x0 = denoise(_network_input(state, level), level)
        if on_step is not None:
            on_step(i, len(levels) - 1, x0)
        direction = _direction(state, x0, level)
        predicted = x0 + target * direction
        if target == 0 or math.isinf(level):
            state = predicted
            continue
        x0_there = denoise(_network_input(predicted, target), target)
        mean = 0.5 * (direction + _direction(predicted, x0_there, target))
        state = state + (target - level) * mean
    return state


def released_start(x: Tensor, level: float) -> Tensor:
    """Scale start latents as the released STAR code does: the network first sees sigma * x instead of x.

    It begins at x * level where x * sqrt(level**2 + 1) would be exact: a factor of 0.9991 at t = 899.

    Args:
        x: noised latents at `level`, [B, C, T, h, w].
        level: first solver level, sigma / alpha.
    """
    return x if math.isinf(level) else x * (level / math.sqrt(level**2 + 1))


SAMPLERS: dict[str, Sampler] = {"dpmpp-2m-sde": dpmpp_2m_sde, "ddim": ddim, "heun": heun}
"""Samplers by the names that ``--sampler`` takes."""


def _levels(sigmas: Tensor) -> list[float]:
    """Check a step list and take it off the device once."""
    levels: list[float] = sigmas.tolist()
    if len(levels) < 2 or levels[-1] != 0 or any(a <= b for a, b in pairwise(levels)):
        raise OptionError(f"a step list must fall to 0 in at least 1 step, not {levels}")
    return levels


def _start(x: Tensor, level: float) -> Tensor:
    """Solver state of the first latents; at an infinite level the state stays in network scale."""
    return x if math.isinf(level) else x * math.sqrt(level**2 + 1)


def _network_input(state: Tensor, level: float) -> Tensor:
    """Variance-preserving latents of a solver state."""
    return state if math.isinf(level) else state / math.sqrt(level**2 + 1)


def _direction(state: Tensor, x0: Tensor, level: float) -> Tensor:
    """Noise estimate of a solver state: the state moves along it as the level falls."""
    return state if math.isinf(level) else (state - x0) / level
