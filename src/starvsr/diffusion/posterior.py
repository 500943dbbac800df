"""The diagonal normal distribution that a variational encoder returns."""

from __future__ import annotations

from torch import Tensor

LOGVAR_RANGE = (-30.0, 20.0)


def split_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Split an encoder's output [N, 2C, ...] into mean and clamped log variance, [N, C, ...] each."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean, logvar.clamp(*LOGVAR_RANGE)


def sample_posterior(mean: Tensor, logvar: Tensor, noise: Tensor | None) -> Tensor:
    """Draw latents from the posterior.

    Args:
        mean: [N, C, ...].
        logvar: logarithm of the variance, same shape; clamped to [-30, 20].
        noise: unit normal, same shape; None takes the mean (the most likely latents).

    Returns:
        mean + exp(logvar / 2) * noise.
    """
    if noise is None:
        return mean
    return mean + (0.5 * logvar.clamp(*LOGVAR_RANGE)).exp() * noise
