"""Training losses: velocity, dynamic frequency (DF), and what one-step training adds.

Clips are [B, 3, T, H, W] in [-1, 1] and every loss is a mean, so that its size does not depend on theirs.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Separation = Literal["radial", "magnitude", "none"]
Weighting = Literal["direct", "inverse"]


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
    separates by magnitude (docs/training.md); "magnitude" keeps that rule, with the exact quantile.

    Args:
        prediction: decoded clean estimate, with gradient, [B, 3, T, H, W].
        target: ground truth of the same shape.
        timesteps: integer timesteps [B].
        alpha: exponent of c(t).
        cutoff: border between low and high, in cycles per pixel (0 .. 0.5).
        separation: how the bands are told apart; "none" weighs all alike.
        weighting: "direct" as above, "inverse" with the bands' weights exchanged.
        num_timesteps: T + 1.

    Returns:
        One loss per batch item, [B].
    """
    spectrum, wanted = _spectrum(prediction), _spectrum(target)
    low, low_wanted = _low_mask(spectrum, prediction, cutoff, separation), None
    if separation == "magnitude":
        low_wanted = _low_mask(wanted, target, cutoff, separation)
    if separation == "none":
        return _distance(spectrum, wanted)
    low_wanted = low if low_wanted is None else low_wanted
    loss_low = _distance(spectrum * low, wanted * low_wanted)
    loss_high = _distance(spectrum * (1 - low), wanted * (1 - low_wanted))
    share = (timesteps / (num_timesteps - 1)) ** alpha
    if weighting == "inverse":
        share = 1 - share
    return share * loss_low + (1 - share) * loss_high


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
    luma, wanted = _luma(prediction), _luma(target)
    total = prediction.new_zeros(())
    for scale in range(num_scales):
        if scale:
            luma, wanted = F.avg_pool2d(luma, 2), F.avg_pool2d(wanted, 2)
        total = total + (1 - _ssim(luma, wanted))
    return total / num_scales


def _luma(clip: Tensor) -> Tensor:
    """BT.601 luma of [B, 3, T, H, W] as frames [B*T, 1, H, W]."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=clip.device)
    return torch.einsum("bcthw,c->bthw", clip, weights).flatten(0, 1)[:, None]


def _ssim(a: Tensor, b: Tensor, window: int = 11) -> Tensor:
    stacked = torch.cat([a, b, a * a, b * b, a * b], dim=1)
    mean_a, mean_b, square_a, square_b, product = F.avg_pool2d(stacked, window, stride=2).unbind(1)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    covariance = product - mean_a * mean_b
    spread = square_a - mean_a**2 + square_b - mean_b**2
    likeness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (likeness * (2 * covariance + c2) / (spread + c2)).mean()
