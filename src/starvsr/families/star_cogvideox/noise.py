"""The noise of a clip's latents: by frame of the video, or in the order of the released code.

Latents are [1, C, T, h, w]; "vae" names the posterior, "start" the first latents, a number the step of the sampler.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from starvsr.diffusion.noise import FrameNoise
from starvsr.families.star_cogvideox.tiles import FRAMES_PER_LATENT

Source = Callable[[int | str], Tensor]


def frame_noise(shape: tuple[int, ...], *, seed: int, first_frame: int, device: torch.device) -> Source:
    """Return noise that belongs to frames of the video: each latent frame has that of the last frame it stands for.

    Clips of a shot whose first frames lie a multiple of four apart have the same noise where they overlap.
    """
    return FrameNoise(shape, seed=seed, first_frame=first_frame, device=device, stride=FRAMES_PER_LATENT)


class ReleasedNoise:
    """Noise drawn in the order of the released code, by the device's own generator.

    The first latents come from the CPU's generator and lie frame by frame, [1, T, C, h, w]; so do the steps'. In every
    step but the first the first of two draws is thrown away. In the released code other things draw from the CPU's
    generator before, so the first latents of a run of it cannot be had from its seed; all else can.

    Args:
        shape: Of the latents.
        seed: Of both generators.
        device: Where the latents lie.
    """

    def __init__(self, shape: tuple[int, ...], *, seed: int, device: torch.device) -> None:
        self._shape, self._device = shape, device
        self._generator = torch.Generator(device).manual_seed(seed)
        _, channels, count, height, width = shape
        self._by_frame = 1, count, channels, height, width
        self._posterior = torch.randn(shape, generator=self._generator, device=device)
        cpu = torch.Generator().manual_seed(seed)
        self._start = torch.randn(self._by_frame, generator=cpu).transpose(1, 2).to(device)
        self._state = self._generator.get_state()

    def __call__(self, purpose: int | str) -> Tensor:
        """Return the noise of a purpose; steps must be asked for in order, from 0 on."""
        if purpose == "vae":
            return self._posterior
        if purpose == "start":
            return self._start
        if purpose == 0:  # sampling begins, or begins again
            self._generator.set_state(self._state)
        else:
            self._draw()
        return self._draw()

    def _draw(self) -> Tensor:
        return torch.randn(self._by_frame, generator=self._generator, device=self._device).transpose(1, 2)
