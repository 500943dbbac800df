"""From what a network predicts to the clean estimate a sampler asks for.

Three kinds of functions, each wrapping the one before:

* a `Predict(x_t, t)` is a network with its context and control bound: noisy latents and integer timesteps in,
  velocity out;
* `guided` joins two of them (with and without the prompt) into one; `guided_pair` does it for a network that gives both
  at once;
* a `Denoise(x_t, level)` is what samplers call: noisy latents at a solver level in, clean estimate out.
  `in_interval` takes one at some noise levels and another at the rest, `in_windows` builds one for a long clip from
  one per time window.

x_t is always variance preserving: alpha * x0 + sigma * noise, what the network sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.errors import OptionError
from starvsr.windows import Blend, Window, blend_weights

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, C, T, h, w], t int64 [B]) -> prediction of the same shape."""

PredictPair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""The same with two answers: with the prompt, and with the negative prompt."""

Denoise = Callable[[Tensor, float], Tensor]
"""(x_t [B, C, T, h, w], solver level sigma/alpha) -> clean estimate of the same shape."""


def from_velocity(predict: Predict, schedule: NoiseSchedule) -> Denoise:
    """Turn a v-predicting network into a clean estimate; the level is rounded to an integer timestep."""

    def denoise(x: Tensor, level: float) -> Tensor:
        t = schedule.integer_timestep_at(torch.tensor([level], dtype=torch.float64)).expand(x.shape[0]).to(x.device)
        return schedule.x0_from_velocity(x, predict(x, t).to(x.dtype), t)

    return denoise


def guided(positive: Predict, negative: Predict | None, *, scale: float, rescale: float | None = 0.2) -> Predict:
    """Classifier-free guidance: push the prediction away from the negative prompt's.

    v = v_n + scale * (v_p - v_n), then v *= rescale * std(v_p) / std(v) + (1 - rescale), standard deviations
    over all values of one batch item. For a clip in windows guide each window, as the released STAR code
    does.

    Source: arXiv 2207.12598; rescale of arXiv 2305.08891, section 3.4.

    Args:
        positive: network with the prompt.
        negative: network with the negative prompt; may be None if `scale` is 1.
        scale: 1 returns `positive` itself, so the second call is never made.
        rescale: share of the standard deviation to restore, 0 to 1; None is 0.

    Raises:
        OptionError: a negative prompt is needed and missing, or rescale is out of range.
    """
    if scale == 1:
        return positive
    if negative is None:
        raise OptionError(f"guidance scale {scale} needs a negative prompt: give one, or use scale 1")
    other = negative
    return guided_pair(lambda x, t: (positive(x, t), other(x, t)), scale=scale, rescale=rescale)


def guided_pair(both: PredictPair, *, scale: float, rescale: float | None = 0.2) -> Predict:
    """Guide by a network that answers to both prompts in one call; see :func:`guided`.

    Raises:
        OptionError: rescale is out of range.
    """
    share = rescale or 0.0
    if not 0 <= share <= 1:
        raise OptionError(f"guidance rescale must lie in [0, 1], not {rescale}")

    def predict(x: Tensor, t: Tensor) -> Tensor:
        v_positive, v_negative = (v.float() for v in both(x, t))
        v = v_negative + scale * (v_positive - v_negative)
        if share == 0:
            return v
        ratio = _std_per_item(v_positive) / (_std_per_item(v) + 1e-12)
        return v * (share * ratio + (1 - share))

    return predict


def in_interval(inside: Denoise, outside: Denoise, schedule: NoiseSchedule, interval: tuple[int, int]) -> Denoise:
    """Take one denoiser for an interval of timesteps and another for the rest.

    With the guided network inside and the prompt alone outside, the second call is made only where it matters.
    Source: guidance in a limited interval (arXiv 2404.07724).

    Args:
        inside: asked when the level's integer timestep, which the network sees, lies in the interval.
        outside: asked otherwise.
        schedule: gives the timestep of a level.
        interval: first and last timestep, both inside.
    """
    low, high = interval

    def denoise(x: Tensor, level: float) -> Tensor:
        t = int(schedule.integer_timestep_at(torch.tensor([level], dtype=torch.float64)))
        return (inside if low <= t <= high else outside)(x, level)

    return denoise


def _std_per_item(x: Tensor) -> Tensor:
    """Unbiased standard deviation over everything but the batch, [B, 1, ..., 1]."""
    return x.flatten(1).std(dim=1).view(-1, *([1] * (x.ndim - 1)))


def in_windows(
    denoise_for: Callable[[Window], Denoise], windows: Sequence[Window], *, blend: Blend = "linear"
) -> Denoise:
    """Denoise a long clip window by window and join the clean estimates at every step.

    Args:
        denoise_for: builds the denoiser of one window, with control (and anything else that has frames) cut
            to [window.start, window.stop).
        windows: in order, covering the clip: `blended_windows`, or `released_windows` for exact reproduction.
        blend: how neighbours join; "cut" for exact reproduction.

    Returns:
        A denoiser of the whole clip. One window is passed through as it is.
    """
    parts = [denoise_for(window) for window in windows]
    if len(parts) == 1:
        return parts[0]
    weights = [torch.tensor(w).view(1, 1, -1, 1, 1) for w in blend_weights(windows, blend)]

    def denoise(x: Tensor, level: float) -> Tensor:
        if x.shape[2] != windows[-1].stop:
            raise OptionError(f"the windows cover {windows[-1].stop} frames, the latents have {x.shape[2]}")
        x0 = torch.zeros_like(x)
        for part, window, weight in zip(parts, windows, weights, strict=True):
            frames = slice(window.start, window.stop)
            x0[:, :, frames] += part(x[:, :, frames], level) * weight.to(x)
        return x0

    return denoise
