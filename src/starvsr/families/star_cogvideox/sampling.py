"""The sampler of STAR on CogVideoX, and the clean estimate that it asks for.

Latents are [B, C, T, h, w], float32 from the first step to the last; only what the network reads has another type.

Source: DPM-Solver++(2M) SDE (arXiv 2211.01095) in its variance-preserving form, as in the released code of STAR.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from starvsr.diffusion.denoiser import Denoise
from starvsr.diffusion.samplers import Noise, OnStep
from starvsr.families.star_cogvideox.guidance import GuidanceCurve
from starvsr.families.star_cogvideox.schedule import Step, Steps

Velocity = Callable[[Tensor, int, bool], Tensor]
"""(x_t [B, C, T, h, w], timestep, with the prompt) -> velocity of the same shape."""


def dpmpp_2m(denoise: Denoise, x: Tensor, steps: Steps, *, noise: Noise, on_step: OnStep | None = None) -> Tensor:
    """Sample clean latents.

    Args:
        denoise: ``denoise(x_t, index)`` gives the clean estimate at the step of this number.
        x: Pure noise [B, C, T, h, w], float32.
        steps: The steps.
        noise: ``noise(index)`` is the unit normal noise of a step, of the shape of x; the last step asks for none.
        on_step: Called as ``on_step(index, num_steps, x0)`` after each evaluation; raise in it to stop.

    Returns:
        The clean latents.
    """
    previous: tuple[Tensor, float] | None = None  # clean estimate and log signal-to-noise ratio of the step before
    for step in steps:
        x0 = denoise(x, float(step.index))
        if on_step is not None:
            on_step(step.index, len(steps), x0)
        if step.index == len(steps) - 1:
            return x0
        here, there = _log_ratio(step.alpha), _log_ratio(step.target)
        decay = math.exp(here - there)  # 0 where there was nothing but noise
        share = 1 - decay**2
        estimate = x0
        if previous is not None and math.isfinite(previous[1]):
            estimate = x0 + (x0 - previous[0]) * ((there - here) / (here - previous[1]) / 2)
        spread, spread_there = (math.sqrt(1 - a**2) for a in (step.alpha, step.target))
        x = (
            (spread_there / spread * decay) * x
            + (share * step.target) * estimate
            + (spread_there * math.sqrt(share)) * noise(step.index)
        )
        previous = x0, here
    return x


def _log_ratio(alpha: float) -> float:
    """Return ln(a / sqrt(1 - a^2)); -inf where there is no signal."""
    return math.log(alpha / math.sqrt(1 - alpha**2)) if alpha > 0 else -math.inf


def denoiser(velocity: Velocity, steps: Steps, guidance: GuidanceCurve) -> Denoise:
    """Return what `dpmpp_2m` calls: the guided clean estimate of a part of the clip.

    The estimate is a * x_t - sqrt(1 - a^2) * v, with the nearest a that the network knows. Where the weight of the
    prompt is 1 the network is asked once.

    Args:
        velocity: The network with its low-quality latents and texts bound.
        steps: The steps.
        guidance: Weight of the prompt at each step.
    """
    listed = list(steps)

    def estimate(x: Tensor, step: Step, with_prompt: bool) -> Tensor:
        predicted = velocity(x, step.timestep, with_prompt).to(x.dtype)
        return step.known * x - math.sqrt(1 - step.known**2) * predicted

    def denoise(x: Tensor, index: float) -> Tensor:
        step = listed[int(index)]
        conditional = estimate(x, step, True)
        if not guidance.asks_twice(step, len(listed)):
            return conditional
        return torch.lerp(estimate(x, step, False), conditional, guidance.at(step, len(listed)))

    return denoise
