"""Low-quality clips made from sharp ones by name and seed, the same pixels every time."""

from __future__ import annotations

import zlib

import numpy as np

from starvsr.degradation.presets import PRESETS
from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray

BICUBIC, RELEASED = "bicubic", "released"
"""Reduction by an antialiased bicubic filter alone; the chain of STAR's script, frame by frame."""


def is_degradation(word: str) -> bool:
    """Whether a word names a degradation."""
    return word in (BICUBIC, RELEASED) or word in PRESETS


def known_degradations() -> str:
    """List the degradations for messages."""
    return ", ".join((BICUBIC, RELEASED, *PRESETS))


def describe(word: str, seed: int) -> str:
    """Say for the record how low-quality clips were made."""
    if word == BICUBIC:
        return "made here: antialiased bicubic filter (PyTorch), rounded to 8 bits"
    if word == RELEASED:
        return f"made here: the chain of STAR's script (ground truth as it is, not sharpened), seed {seed}"
    return f"made here: preset {word} of `starvsr degrade`, seed {seed}"


def degraded(gt: ByteArray, word: str, clip: str, seed: int, scale: int) -> ByteArray:
    """Make a low-quality clip.

    Each clip has a random generator of its own, made of the seed, its name and the degradation's.

    Args:
        gt: uint8 [T, H, W, 3] RGB, sides multiples of ``scale``.
        word: a degradation.
        clip: name of the clip.
        seed: seed of every draw.
        scale: how many times smaller.

    Returns:
        uint8 [T, H / scale, W / scale, 3] RGB.

    Raises:
        OptionError: the clip is too small, or the degradation has another scale.
    """
    import torch
    import torch.nn.functional as F

    from starvsr.degradation.compression import to_bytes
    from starvsr.degradation.recipe import degrade_clip
    from starvsr.degradation.released import ReleasedOptions, degrade_released

    frames = torch.from_numpy(np.ascontiguousarray(gt)).permute(0, 3, 1, 2)
    rng = np.random.default_rng((seed, zlib.crc32(clip.encode()), zlib.crc32(word.encode())))
    if word == BICUBIC:
        size = (gt.shape[1] // scale, gt.shape[2] // scale)
        return to_bytes(F.interpolate(frames / 255.0, size=size, mode="bicubic", antialias=True))
    if word == RELEASED:
        if scale != 4:
            raise OptionError(f"--lq {RELEASED} makes clips 4 times smaller, not {scale}: leave out --scale")
        return to_bytes(degrade_released(frames / 255.0, rng, ReleasedOptions(sharpen_gt=False))[1])
    return to_bytes(degrade_clip(frames, word, rng, scale))
