"""Lossy coding for clips: block-DCT JPEG in torch, and the draw of a video-codec pass.

The JPEG follows the formulas of the differentiable JPEG that Real-ESRGAN and STAR train with (hard
rounding, 4:2:0, quality factor not rounded to whole numbers). The video codecs live behind
`starvsr.video.codec_pass`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F

from starvsr.video.codec_pass import compress_clip

_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@dataclass(frozen=True)
class CodecRange:
    """One video codec: how often, and how bad.

    Attributes:
        codec: encoder name, see `compress_clip`.
        weight: relative frequency.
        crf: inclusive range of the codec's quality number.
        bits_per_pixel: range of bits per pixel and frame for rate-limited coding (drawn evenly in the
            logarithm).
        rate_probability: share of rate-limited clips.
        presets: encoder presets to choose from; empty for codecs without.
        no_deblock_probability: share of clips coded without in-loop filter.
    """

    codec: str
    weight: float
    crf: tuple[int, int]
    bits_per_pixel: tuple[float, float] = (0.05, 0.3)
    rate_probability: float = 0.0
    presets: tuple[str, ...] = ()
    no_deblock_probability: float = 0.0


@dataclass(frozen=True)
class CodecDraw:
    """A codec pass drawn for one clip; exactly one of `crf` and `bits_per_pixel` is set."""

    codec: str
    crf: int | None
    bits_per_pixel: float | None
    preset: str | None
    gop: int
    deblock: bool


def draw_codec(rng: np.random.Generator, ranges: tuple[CodecRange, ...], probability: float) -> CodecDraw | None:
    """Draw codec and quality; None for no pass."""
    present = bool(ranges) and rng.random() < probability
    if not present:
        return None
    weights = np.array([entry.weight for entry in ranges])
    entry = ranges[int(rng.choice(len(ranges), p=weights / weights.sum()))]
    limited = rng.random() < entry.rate_probability
    low, high = entry.bits_per_pixel
    bits = math.exp(rng.uniform(math.log(low), math.log(high)))
    crf = int(rng.integers(entry.crf[0], entry.crf[1] + 1))
    preset = str(rng.choice(entry.presets)) if entry.presets else None
    deblock = not rng.random() < entry.no_deblock_probability
    gop = int(rng.choice((8, 12, 25, 50, 250)))
    return CodecDraw(entry.codec, None if limited else crf, bits if limited else None, preset, gop, deblock)


def apply_codec(
    clip: torch.Tensor, draw: CodecDraw, frame_rate: Fraction | int = 25, phase: int | None = None
) -> torch.Tensor:
    """Code a clip as drawn.

    Args:
        clip: float [T, 3, H, W] in [0, 1]; rounded to 8 bits first.
        draw: codec and quality; the bit rate is `bits_per_pixel` times pixels and frame rate.
        frame_rate: frames per second.
        phase: ignored unless given; number of frames of lead-in, played mirrored, so that the clip does not
            always begin with a fresh key frame.

    Returns:
        float32 [T, 3, H, W] on the 1/255 grid.
    """
    pixels = to_bytes(clip)
    num_frames, height, width, _ = pixels.shape
    lead = min(phase or 0, num_frames - 1)
    if lead:
        pixels = np.concatenate([pixels[lead:0:-1], pixels])
    rate = None
    if draw.bits_per_pixel is not None:
        rate = max(int(draw.bits_per_pixel * width * height * Fraction(frame_rate)), 1000)
    coded = compress_clip(
        pixels,
        draw.codec,
        crf=draw.crf,
        bit_rate=rate,
        frame_rate=frame_rate,
        preset=draw.preset,
        gop=draw.gop,
        deblock=draw.deblock,
    )
    return from_bytes(coded[lead:])


def to_bytes(clip: torch.Tensor) -> np.ndarray:
    """Round float [T, 3, H, W] in [0, 1] to contiguous uint8 [T, H, W, 3]."""
    rounded = clip.clamp(0, 1).mul(255).round_().to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().numpy()


def from_bytes(pixels: np.ndarray) -> torch.Tensor:
    """Turn uint8 [T, H, W, 3] into contiguous float32 [T, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).contiguous().float().div_(255.0)


def jpeg_factor(quality: float) -> float:
    """Scale of the quantisation tables for a quality in (0, 100)."""
    return 50.0 / quality if quality < 50 else 2.0 - quality / 50.0


def jpeg(clip: torch.Tensor, quality: float) -> torch.Tensor:
    """Apply JPEG coding loss to every frame.

    Args:
        clip: float32 [T, 3, H, W] in [0, 1], any size (zeros are padded to multiples of 16 and cut again).
        quality: in (0, 100).

    Returns:
        float32 [T, 3, H, W] in [0, 1].
    """
    height, width = clip.shape[-2:]
    padded = F.pad(clip, (0, -width % 16, 0, -height % 16)) * 255.0
    ycbcr = torch.einsum("kc,tchw->tkhw", torch.tensor(_TO_YCBCR), padded)
    factor = jpeg_factor(quality)
    chroma_table = torch.full((8, 8), 99.0)
    chroma_table[:4, :4] = torch.tensor(_CHROMA_CORNER, dtype=torch.float32)
    luma = _quantised(ycbcr[:, :1], torch.tensor(_LUMA_TABLE, dtype=torch.float32).T * factor)
    chroma = _quantised(F.avg_pool2d(ycbcr[:, 1:] + 128.0, 2), chroma_table * factor) - 128.0
    chroma = chroma.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    rgb = torch.einsum("kc,tchw->tkhw", torch.tensor(_TO_RGB), torch.cat([luma, chroma], dim=1))
    return rgb.clamp_(0, 255).div_(255.0)[..., :height, :width].contiguous()


def _quantised(planes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Round the 8x8 DCT of planes [T, C, H, W] (around 128) in steps of table [8, 8]."""
    basis = _dct_basis()
    t, c, h, w = planes.shape
    blocks = (planes - 128.0).view(t, c, h // 8, 8, w // 8, 8).transpose(3, 4)  # [t, c, h/8, w/8, 8, 8]
    coefficients = basis @ blocks @ basis.T
    coefficients = (coefficients / table).round_() * table
    restored = basis.T @ coefficients @ basis + 128.0
    return restored.transpose(3, 4).reshape(t, c, h, w)


def _dct_basis() -> torch.Tensor:
    """Orthonormal DCT-II matrix, float32 [8, 8]."""
    k = torch.arange(8, dtype=torch.float64)
    basis = 0.5 * torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16)
    basis[0] *= math.sqrt(0.5)
    return basis.float()
