"""Seeded noise that belongs to a frame of the video, not to the way the video is cut.

Every frame draws from its own generator, seeded by a hash of (seed, purpose, batch item, absolute frame
index). So one segment or ten, one worker or eight, give the same noise, and so does every device and every processor:
drawing is done on the CPU (diffusion/normal.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from starvsr.diffusion.normal import standard_normal


def frame_noise(shape: tuple[int, ...], *, seed: int, first_frame: int, stream: int | str, stride: int = 1) -> Tensor:
    """Draw unit normal noise for consecutive frames.

    Args:
        shape: (B, C, T, h, w) of the latents.
        seed: seed of the job, any integer.
        first_frame: index in the whole video of the first of the T frames.
        stream: what the noise is for: a solver step's index, or a word such as "start".
        stride: frames of the video from one of the T frames to the next, where latents stand for several.

    Returns:
        float32 [B, C, T, h, w] on the CPU.
    """
    batch, channels, num_frames, *size = shape
    noise = torch.empty(batch, channels, num_frames, *size)
    generator = torch.Generator()
    for item in range(batch):
        for frame in range(num_frames):
            generator.manual_seed(_seed_of(seed, stream, item, first_frame + stride * frame))
            noise[item, :, frame] = standard_normal((channels, *size), generator=generator)
    return noise


def _seed_of(seed: int, stream: int | str, item: int, frame: int) -> int:
    text = f"{seed}/{stream}/{item}/{frame}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1  # 63 bits


@dataclass(frozen=True)
class FrameNoise:
    """The noise source of one segment: `noise(i)` is what a sampler asks for at step i.

    Attributes:
        shape: (B, C, T, h, w) of the segment's latents.
        seed: seed of the job.
        first_frame: index in the whole video of the segment's first frame.
        device: where the noise is wanted; it is drawn on the CPU.
        stride: frames of the video from one of the T frames to the next, where latents stand for several.
    """

    shape: tuple[int, ...]
    seed: int
    first_frame: int = 0
    device: torch.device | str = "cpu"
    stride: int = 1

    def __call__(self, stream: int | str) -> Tensor:
        """Draw the noise of a solver step (its index) or other purpose (a word); float32 [B, C, T, h, w]."""
        noise = frame_noise(self.shape, seed=self.seed, first_frame=self.first_frame, stream=stream, stride=self.stride)
        return noise.to(self.device)
