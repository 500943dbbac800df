"""Training losses: velocity, dynamic frequency (DF), and what one-step training adds.

Clips are [B, 3, T, H, W] in [-1, 1] and every loss is a mean, so that its size does not depend on theirs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Separation = Literal["radial", "magnitude", "released", "none"]
Weighting = Literal["direct", "inverse"]
Fade = Literal["linear", "exponential"]

RELEASED_SCALE = 0.01
"""Factor of the released code, whose transform is not normalised."""
_RELEASED_SAMPLES = 10_000


def charbonnier(prediction: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """Return mean(sqrt(d^2 + eps^2)) - eps: absolute error, smooth at zero."""
    return (torch.sqrt((prediction - target) ** 2 + eps**2) - eps).mean()


def negative_psnr(prediction: Tensor, target: Tensor, *, ceiling_db: float = 46.0) -> Tensor:
    """Return the mean over clips of minus the PSNR in dB.

    The logarithm makes a clip count by the ratio of its errors, not their size, so that hard clips do not drown
    easy ones. Errors below ``ceiling_db`` hardly count: nearly flat clips would give gradients without bound.
    """
    error = ((prediction - target) ** 2).flatten(1).mean(1) / 4  # range of 2, squared
    return 10 * torch.log10(error + 10 ** (-ceiling_db / 10)).mean()


def temporal_difference(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of the change from frame to frame (0 for a single frame)."""
    if prediction.shape[2] < 2:
        return prediction.new_zeros(())
    return F.l1_loss(prediction.diff(dim=2), target.diff(dim=2))


def dynamic_frequency_loss(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    *,
    alpha: float = 2.0,
    cutoff: float = 0.25,
    separation: Separation = "radial",
    weighting: Weighting = "direct",
    num_timesteps: int = 1000,
) -> Tensor:
    """Compare spectra, low frequencies when much noise is left and high ones when little is.

    c(t) L_low + (1 - c(t)) L_high with c(t) = (t / T)^alpha, L_x the mean absolute difference of real and
    imaginary parts of one band. The factor b(t) is the caller's.

    Source: STAR (arXiv 2501.02976), dynamic frequency loss. Deviations: orthonormal transform (the released
    one grows with the frame size); "radial" separates at ``cutoff`` cycles per pixel, where the released code
    separates by magnitude (docs/training.md); "magnitude" keeps that rule, with the exact quantile of each item;
    "released" is the released code, with its transform, its factor 0.01 and its quantile over the whole batch.

    Args:
        prediction: decoded clean estimate, with gradient, [B, 3, T, H, W].
        target: ground truth of the same shape.
        timesteps: integer timesteps [B].
        alpha: exponent of c(t).
        cutoff: border between low and high, in cycles per pixel (0 .. 0.5).
        separation: how the bands are separated; "none" weighs all alike.
        weighting: "direct" as above, "inverse" with the bands' weights exchanged.
        num_timesteps: T + 1.

    Returns:
        One loss per batch item, [B].
    """
    if separation == "released":
        return _released(prediction, target, timesteps, alpha, weighting, num_timesteps)
    spectrum, wanted = _spectrum(prediction), _spectrum(target)
    low, low_wanted = _low_mask(spectrum, prediction, cutoff, separation), None
    if separation == "magnitude":
        low_wanted = _low_mask(wanted, target, cutoff, separation)
    if separation == "none":
        return _distance(spectrum, wanted)
    low_wanted = low if low_wanted is None else low_wanted
    loss_low = _distance(spectrum * low, wanted * low_wanted)
    loss_high = _distance(spectrum * (1 - low), wanted * (1 - low_wanted))
    share = low_share(timesteps, alpha, weighting, num_timesteps)
    return share * loss_low + (1 - share) * loss_high


def low_share(timesteps: Tensor, alpha: float, weighting: Weighting = "direct", num_timesteps: int = 1000) -> Tensor:
    """Return c(t) = (t / T)^alpha, or 1 - c(t) for the "inverse" weighting, float32 [B]."""
    share = (timesteps.float() / (num_timesteps - 1)) ** alpha
    return 1 - share if weighting == "inverse" else share


def fade(timesteps: Tensor, form: Fade = "linear", num_timesteps: int = 1000) -> Tensor:
    """Return b(t) / beta, the weight of the dynamic frequency loss beside the velocity loss, float32 [B].

    "linear" is 1 - t/T. The paper gives no formula for "exponential"; here it is (e^(1 - t/T) - 1) / (e - 1), which
    has the same ends, 1 without noise and 0 with nothing but noise.
    """
    left = 1 - timesteps.float() / (num_timesteps - 1)
    return left if form == "linear" else (left.exp() - 1) / (math.e - 1)


def released_bands(clip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split a clip's spectrum as the released code does: what is weaker than the 80 % quantile counts as low.

    Above 10 000 values it draws the quantile from a sample; here the sample is evenly spaced, so that the same
    clip gives the same loss.

    Returns:
        low and high, complex [B, 3, T, H, W // 2 + 1], and the quantile, [].
    """
    spectrum = torch.fft.rfft2(clip.float())
    size = spectrum.abs().detach()
    values = size.flatten()
    if len(values) > _RELEASED_SAMPLES:
        values = values[torch.linspace(0, len(values) - 1, _RELEASED_SAMPLES, device=values.device).long()]
    cutoff = values.quantile(0.8)
    low = torch.sigmoid(10 * (cutoff - size))
    return spectrum * low, spectrum * (1 - low), cutoff


def _released(
    prediction: Tensor, target: Tensor, timesteps: Tensor, alpha: float, weighting: Weighting, num_timesteps: int
) -> Tensor:
    low, high, _ = released_bands(prediction)
    low_wanted, high_wanted, _ = released_bands(target)
    share = low_share(timesteps, alpha, weighting, num_timesteps)
    return RELEASED_SCALE * (share * _distance(low, low_wanted) + (1 - share) * _distance(high, high_wanted))


def _spectrum(clip: Tensor) -> Tensor:
    return torch.fft.rfft2(clip.float(), norm="ortho")


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of real and imaginary parts per batch item, [B]."""
    return torch.view_as_real(a - b).abs().flatten(1).mean(1)


def _low_mask(spectrum: Tensor, clip: Tensor, cutoff: float, separation: Separation) -> Tensor:
    """Return the share of each frequency that counts as low, in [0, 1]."""
    if separation == "magnitude":
        size = spectrum.abs()
        border = size.flatten(1).quantile(0.8, dim=1)[:, None, None, None, None]
        return torch.sigmoid(10 * (border - size)).detach()
    height, width = clip.shape[-2:]
    rows = torch.fft.fftfreq(height, device=clip.device)[:, None]
    columns = torch.fft.rfftfreq(width, device=clip.device)[None]
    return torch.sigmoid((cutoff - torch.hypot(rows, columns)) / 0.02)


def structural_dissimilarity(prediction: Tensor, target: Tensor, *, num_scales: int = 3) -> Tensor:
    """Return 1 - SSIM of the luma, averaged over ``num_scales`` scales, each half as large.

    11x11 windows of equal weight, constants for a range of 2. Source: SSIM (Wang et al., 2004).
    """
    plane, wanted = luma(prediction), luma(target)
    total = prediction.new_zeros(())
    for scale in range(num_scales):
        if scale:
            plane, wanted = F.avg_pool2d(plane, 2), F.avg_pool2d(wanted, 2)
        total = total + (1 - _ssim(plane, wanted))
    return total / num_scales


def luma(clip: Tensor) -> Tensor:
    """Return the BT.601 luma of [B, 3, T, H, W] as frames [B*T, 1, H, W]."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=clip.device)
    return torch.einsum("bcthw,c->bthw", clip, weights).flatten(0, 1)[:, None]


@lru_cache(maxsize=16)
def _averaging(side: int, window: int, stride: int = 2) -> Tensor:
    """Return the matrix [windows, side] that averages a line over its windows; on CPUs far faster than pooling."""
    starts = torch.arange(0, side - window + 1, stride)[:, None]
    places = torch.arange(side)
    return ((places >= starts) & (places < starts + window)).float() / window


def _ssim(a: Tensor, b: Tensor, window: int = 11) -> Tensor:
    stacked = torch.cat([a, b, a * a, b * b, a * b], dim=1)
    height, width = (_averaging(side, window).to(a) for side in a.shape[-2:])
    mean_a, mean_b, square_a, square_b, product = (height @ stacked @ width.T).unbind(1)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    covariance = product - mean_a * mean_b
    spread = square_a - mean_a**2 + square_b - mean_b**2
    likeness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (likeness * (2 * covariance + c2) / (spread + c2)).mean()
