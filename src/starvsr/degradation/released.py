"""The degradation of STAR's released script: everything drawn anew for every frame.

For reproducing that data, quirks included: one-frame "videos", a second resize that leaves the width alone,
photon noise from the red channel, and a sharpened ground truth. For data of your own use
`starvsr.degradation.recipe`. The random streams are not those of the script (it mixes three generators);
the distributions are.

Source: STAR (arXiv 2501.02976), training-data script of the authors' repository.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from starvsr.degradation.compression import from_bytes, jpeg
from starvsr.degradation.kernels import (
    KERNEL_SIZES,
    KernelRanges,
    bell_kernel,
    draw_final_sinc,
    draw_kernel,
    filter_clip,
)
from starvsr.errors import OptionError
from starvsr.video.codec_pass import compress_clip

_MODES = ("area", "bilinear", "bicubic")
_CODECS = ("libx264", "libx264", "mpeg4")  # "libx264", "h264", "mpeg4" there; the first two are one
_USM_SIZE, _USM_SIGMA = 51, 8.0


@dataclass(frozen=True)
class ReleasedOptions:
    """Quirks of the released script that can be switched.

    Attributes:
        width_bug: leave the width out of the second resize, so that the picture is stretched in between.
        sharpen_gt: sharpen the ground truth and degrade the sharpened one.
    """

    width_bug: bool = True
    sharpen_gt: bool = True


def degrade_released(
    gt: torch.Tensor, rng: np.random.Generator, options: ReleasedOptions | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Degrade a clip frame by frame, as the released script does.

    Args:
        gt: float32 [T, 3, H, W] in [0, 1]; H and W at least 64.
        rng: source of every draw.
        options: quirks; None for all of them.

    Returns:
        (gt, lq): gt [T, 3, H, W] as stored there (sharpened), lq [T, 3, H // 4, W // 4] in [0, 1] on the
        1/255 grid.
        Deviation: the script cuts an odd last row or column off the LQ, here it is kept.

    Raises:
        OptionError: wrong shape or too small.
    """
    if gt.ndim != 4 or gt.shape[1] != 3 or min(gt.shape[-2:]) < 64:
        raise OptionError(f"gt must be [T, 3, H, W] with sides of at least 64, got {list(gt.shape)}")
    chosen = options or ReleasedOptions()
    stored = sharpen(gt) if chosen.sharpen_gt else gt
    lq = torch.cat([_degrade_frame(stored[i : i + 1], rng, chosen) for i in range(len(stored))])
    return stored, lq.clamp(0, 1).mul(255).round_().div_(255)


def usm_kernel() -> np.ndarray:
    """Return the Gaussian of the sharpening, float64 [51, 51]."""
    return bell_kernel(_USM_SIZE, _USM_SIGMA, _USM_SIGMA)


def sharpen(images: torch.Tensor, weight: float = 0.5, threshold: float = 10.0) -> torch.Tensor:
    """Sharpen with an unsharp mask where the picture differs from its blur.

    Args:
        images: float32 [T, 3, H, W] in [0, 1], sides above 25.
        weight: how much of the difference is added.
        threshold: smallest difference, in 1/255.

    Returns:
        float32 [T, 3, H, W] in [0, 1].
    """
    kernel = usm_kernel()
    residual = images - filter_clip(images, kernel)
    mask = filter_clip((residual.abs() * 255 > threshold).float(), kernel)
    return mask * (images + weight * residual).clamp(0, 1) + (1 - mask) * images


def stretched_size(height: int, width: int, factor: float, width_bug: bool = True) -> tuple[int, int]:
    """Return the size (height, width) of the second resize for a GT size and a factor; scale 4."""
    return int(height / 4 * factor), int(width / factor * factor) if width_bug else int(width / 4 * factor)


def photon_noise(image: torch.Tensor, rng: np.random.Generator, grey: bool) -> torch.Tensor:
    """Draw Poisson noise of the strength that the number of grey levels in the picture suggests.

    Args:
        image: float32 [1, 3, H, W] in [0, 1].
        rng: source of the values.
        grey: one noise for all channels, from the red one.

    Returns:
        float32 [1, 1 or 3, H, W], to be added.
    """
    signal = (image[:, :1] if grey else image).clamp(0, 1).mul(255).round().div(255)
    levels = 1 << (max(len(torch.unique(signal)), 2) - 1).bit_length()  # the next power of two
    counts = rng.poisson(signal.numpy() * levels) / levels
    return torch.from_numpy(counts.astype(np.float32)) - signal


def _degrade_frame(gt: torch.Tensor, rng: np.random.Generator, options: ReleasedOptions) -> torch.Tensor:
    height, width = gt.shape[-2:]
    ranges = KernelRanges(sizes=KERNEL_SIZES)
    image = filter_clip(gt, draw_kernel(rng, ranges))
    factor = _draw_factor(rng, (0.2, 0.7, 0.1), up=1.5, down=0.15)
    mode = str(rng.choice(_MODES))
    image = F.interpolate(image, scale_factor=factor, mode=mode)
    image = _add_noise(image, rng, sigma=30.0, scale=3.0)
    image = jpeg(image.clamp(0, 1), rng.uniform(30, 95))
    image = _one_frame_video(image[..., : image.shape[-2] // 2 * 2, : image.shape[-1] // 2 * 2], rng)
    if rng.random() < 0.8:
        image = filter_clip(image, draw_kernel(rng, KernelRanges(sigma=(0.2, 1.5))))
    factor = _draw_factor(rng, (0.3, 0.4, 0.3), up=1.2, down=0.3)
    size = stretched_size(height, width, factor, options.width_bug)
    image = F.interpolate(image, size=size, mode=str(rng.choice(_MODES)))
    image = _add_noise(image, rng, sigma=25.0, scale=2.5)
    image = _finish(image, (height // 4, width // 4), rng)
    return _one_frame_video(image, rng)


def _finish(image: torch.Tensor, size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    jpeg_last, quality, mode = rng.random() < 0.5, rng.uniform(30, 95), str(rng.choice(_MODES))
    kernel = draw_final_sinc(rng) if rng.random() < 0.8 else None
    if not jpeg_last:
        image = jpeg(image.clamp(0, 1), quality)
    image = F.interpolate(image, size=size, mode=mode)
    image = image if kernel is None else filter_clip(image, kernel)
    return jpeg(image.clamp(0, 1), quality) if jpeg_last else image


def _draw_factor(rng: np.random.Generator, probabilities: tuple[float, float, float], up: float, down: float) -> float:
    direction = int(rng.choice(3, p=probabilities))
    return (rng.uniform(1.0, up), rng.uniform(down, 1.0), 1.0)[direction]


def _add_noise(image: torch.Tensor, rng: np.random.Generator, sigma: float, scale: float) -> torch.Tensor:
    gaussian, grey = rng.random() < 0.5, rng.random() < 0.4
    if gaussian:
        values = rng.standard_normal((1, 1 if grey else 3, *image.shape[-2:]), dtype=np.float32)
        noise = torch.from_numpy(values) * (rng.uniform(1, sigma) / 255.0)
    else:
        noise = photon_noise(image, rng, grey) * rng.uniform(0.05, scale)
    return (image + noise).clamp(0, 1)


def _one_frame_video(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    pixels = image.clamp(0, 1).mul(255).to(torch.uint8).permute(0, 2, 3, 1).numpy()  # truncated, as there
    codec, rate = str(rng.choice(_CODECS)), int(rng.integers(10_000, 100_001))
    coded = compress_clip(
        np.ascontiguousarray(pixels), codec, bit_rate=rate, frame_rate=1, buffer_s=None, preset="medium"
    )
    return from_bytes(coded)
