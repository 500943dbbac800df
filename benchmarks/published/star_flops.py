"""Floating-point operations of the published STAR, counted on meta tensors: no weights, no memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights.assign import build_empty
from starvsr.windows import blended_windows, released_windows

TOKENS = 77
"""Of a caption."""


class StarFlops:
    """Counts, 2 for a multiply-add; each size is counted once.

    Args:
        unet: Sizes of the network.
        vae: Sizes of the VAE.
    """

    def __init__(self, unet: StarUNetConfig, vae: TemporalVaeConfig) -> None:
        self.unet, self.vae = unet, vae
        self._known: dict[tuple[Any, ...], float] = {}

    def segment(self, star: StarI2VGenPipeline, num_steps: int, frames: int, rows: int, columns: int) -> float:
        """Count a segment as a pipeline does it, with the overlaps of its windows.

        Args:
            star: The pipeline.
            num_steps: Sampling steps.
            frames: Of the segment.
            rows: Of its latents, padding included.
            columns: Of its latents, padding included.
        """
        sampling, group = star.sampling, star.codec.group
        place = blended_windows if sampling.choices.window_join == "blend" else released_windows
        contexts = 1 if sampling.guidance == 1 else 2
        calls = sum(self.call(window.length, rows, columns) for window in place(frames, sampling.window))
        groups = -(-frames // group) if star.codec.overlap == 0 else max(1, -(-(frames - 4) // 4))
        coded = frames * self.encode(1, rows, columns)
        coded += groups * self.decode(min(frames, group), rows, columns)
        return contexts * num_steps * calls + coded

    def call(self, frames: int, rows: int, columns: int) -> float:
        """Count a call of the network for latents of a size."""

        def call() -> None:
            network = build_empty(lambda: StarUNet(self.unet)).eval()
            x = torch.empty(1, self.unet.in_channels, frames, rows, columns, device="meta")
            context = torch.empty(1, TOKENS, self.unet.context_dim, device="meta")
            network(x, torch.zeros(1, dtype=torch.long, device="meta"), context, x)

        return self._count(("call", frames, rows, columns), call)

    def encode(self, frames: int, rows: int, columns: int) -> float:
        """Count the encoding of frames to latents of a size."""
        pixels = (frames, 3, self.vae.factor * rows, self.vae.factor * columns)
        work = self._on_vae(lambda vae: vae.moments(torch.empty(pixels, device="meta")))
        return self._count(("encode", frames, rows, columns), work)

    def decode(self, frames: int, rows: int, columns: int) -> float:
        """Count the decoding of latents of a size."""
        work = self._on_vae(lambda vae: vae.decode(torch.empty(frames, 4, rows, columns, device="meta")))
        return self._count(("decode", frames, rows, columns), work)

    def _on_vae(self, work: Callable[[TemporalVae], object]) -> Callable[[], object]:
        return lambda: work(build_empty(lambda: TemporalVae(self.vae)).eval())

    def _count(self, key: tuple[Any, ...], work: Callable[[], object]) -> float:
        if key not in self._known:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                work()
            self._known[key] = float(counter.get_total_flops())
        return self._known[key]
