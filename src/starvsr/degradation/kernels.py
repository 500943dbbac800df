"""Blur kernels of the Real-ESRGAN family, their random draws, and filtering with them.

Kernels are float64 numpy arrays that sum to 1; clips are float32 torch tensors [T, 3, H, W]. Nothing here
knows of noise, compression or the order of the steps.

Source: Real-ESRGAN (arXiv 2107.10833), section 3; STAR (arXiv 2501.02976) uses the same kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

KERNEL_SIZES = (7, 9, 11, 13, 15, 17, 19, 21)
SHAPES = ("gaussian", "generalized", "plateau")


@dataclass(frozen=True)
class KernelRanges:
    """What blur kernels are drawn from.

    Attributes:
        sizes: odd side lengths, drawn uniformly.
        sigma: range of the standard deviation, in pixels.
        sinc_probability: share of circular low-pass (ringing) kernels.
        shape_probabilities: gaussian, generalized, plateau; each split into round and stretched by
            `stretched_share`.
        stretched_share: share of stretched and rotated kernels among each shape.
        beta_generalized: exponent range of the generalized Gaussian.
        beta_plateau: exponent range of the plateau.
    """

    sizes: tuple[int, ...] = KERNEL_SIZES
    sigma: tuple[float, float] = (0.2, 3.0)
    sinc_probability: float = 0.1
    shape_probabilities: tuple[float, float, float] = (0.70, 0.15, 0.15)
    stretched_share: tuple[float, float, float] = (0.25 / 0.70, 0.2, 0.2)
    beta_generalized: tuple[float, float] = (0.5, 4.0)
    beta_plateau: tuple[float, float] = (1.0, 2.0)


def bell_kernel(
    size: int, sigma_x: float, sigma_y: float, theta: float = 0.0, *, shape: str = "gaussian", beta: float = 1.0
) -> np.ndarray:
    """Make a Gaussian, generalized Gaussian or plateau kernel.

    Args:
        size: side length, odd.
        sigma_x: standard deviation along the first axis of the kernel, in pixels.
        sigma_y: the same for the second axis; equal to `sigma_x` for a round kernel.
        theta: rotation in radians.
        shape: "gaussian" exp(-d2/2), "generalized" exp(-d2**beta/2) or "plateau" 1/(1 + d2**beta).
        beta: exponent; not used by "gaussian".

    Returns:
        float64 [size, size], sum 1.
    """
    offsets = np.arange(size) - size // 2
    x, y = np.meshgrid(offsets, offsets)
    along = (x * math.cos(theta) + y * math.sin(theta)) / sigma_x
    across = (-x * math.sin(theta) + y * math.cos(theta)) / sigma_y
    distance2 = along**2 + across**2
    if shape == "gaussian":
        kernel = np.exp(-0.5 * distance2)
    elif shape == "generalized":
        kernel = np.exp(-0.5 * distance2**beta)
    elif shape == "plateau":
        kernel = 1.0 / (1.0 + distance2**beta)
    else:
        raise ValueError(f"unknown kernel shape {shape!r}; use one of {', '.join(SHAPES)}")
    return np.asarray(kernel / kernel.sum())


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """Make a circular low-pass kernel, which rings at edges as sharpening and strong compression do.

    Args:
        size: side length, odd.
        cutoff: angular frequency in radians per pixel, in (0, pi].

    Returns:
        float64 [size, size], sum 1.
    """
    offsets = np.arange(size) - size // 2
    x, y = np.meshgrid(offsets, offsets)
    radius = np.hypot(x, y)
    centre = radius == 0
    safe = np.where(centre, 1.0, radius)
    ring = cutoff * _bessel_j1(cutoff * safe) / (2 * math.pi * safe)
    kernel = np.where(centre, cutoff**2 / (4 * math.pi), ring)
    return np.asarray(kernel / kernel.sum())


def pad_kernel(kernel: np.ndarray, size: int) -> np.ndarray:
    """Put zeros around a kernel up to [size, size]; both sizes odd."""
    margin = (size - kernel.shape[0]) // 2
    return np.pad(kernel, margin)


def trim_kernel(kernel: np.ndarray, negligible: float = 1e-4) -> np.ndarray:
    """Cut off outer rings that hold next to nothing; narrow kernels in wide frames cost as much as wide ones.

    Args:
        kernel: [k, k], sum 1.
        negligible: largest total weight that may go at each cut.

    Returns:
        [m, m] with m <= k, sum 1.
    """
    while kernel.shape[0] > 3:
        inner = kernel[1:-1, 1:-1]
        if np.abs(kernel).sum() - np.abs(inner).sum() > negligible:
            break
        kernel = inner / inner.sum()
    return kernel


def draw_kernel(rng: np.random.Generator, ranges: KernelRanges) -> np.ndarray:
    """Draw one blur kernel, float64 [size, size]."""
    size = int(rng.choice(ranges.sizes))
    if rng.random() < ranges.sinc_probability:
        return sinc_kernel(size, rng.uniform(math.pi / (3 if size < 13 else 5), math.pi))
    index = int(rng.choice(len(SHAPES), p=ranges.shape_probabilities))
    sigma_x = rng.uniform(*ranges.sigma)
    sigma_y, theta = sigma_x, 0.0
    if rng.random() < ranges.stretched_share[index]:
        sigma_y, theta = rng.uniform(*ranges.sigma), rng.uniform(-math.pi, math.pi)
    beta = _draw_beta(rng, (1.0, 1.0), ranges.beta_generalized, ranges.beta_plateau)[index]
    return bell_kernel(size, sigma_x, sigma_y, theta, shape=SHAPES[index], beta=beta)


def draw_final_sinc(rng: np.random.Generator, sizes: tuple[int, ...] = KERNEL_SIZES) -> np.ndarray:
    """Draw the sinc kernel that ends the chain, float64 [size, size]."""
    return sinc_kernel(int(rng.choice(sizes)), rng.uniform(math.pi / 3, math.pi))


def filter_clip(clip: torch.Tensor, kernel: np.ndarray) -> torch.Tensor:
    """Correlate every frame and channel with one kernel, reflect padding.

    Args:
        clip: float [T, C, H, W].
        kernel: [k, k] with odd k.

    Returns:
        float [T, C, H, W].
    """
    num_frames, channels, height, width = clip.shape
    margin = kernel.shape[0] // 2
    planes = clip.reshape(1, num_frames * channels, height, width)  # depthwise is the fast path on CPUs
    mode = "reflect" if margin < min(height, width) else "replicate"
    padded = F.pad(planes, (margin,) * 4, mode=mode)
    weight = torch.as_tensor(kernel, dtype=clip.dtype)[None, None].expand(planes.shape[1], 1, -1, -1)
    return F.conv2d(padded, weight.contiguous(), groups=planes.shape[1]).view_as(clip)


def _draw_beta(rng: np.random.Generator, *ranges: tuple[float, float]) -> list[float]:
    """Draw an exponent from each range, half of the time below 1 and half above (always the same draws)."""
    below = rng.random() < 0.5
    position = rng.random()
    chosen = [((low, 1.0) if below else (1.0, high)) for low, high in ranges]
    return [low + (high - low) * position for low, high in chosen]


def _bessel_j1(x: np.ndarray) -> np.ndarray:
    """Bessel function of the first kind, order 1, by its integral (exact to rounding for |x| < 90)."""
    angles = np.linspace(0.0, math.pi, 129)
    values = np.cos(angles - x[..., None] * np.sin(angles))
    return np.asarray((values[..., 1:-1].sum(-1) + 0.5 * (values[..., 0] + values[..., -1])) / 128)
