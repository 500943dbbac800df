"""Frame-wise bidirectional sampling with temporal texture guidance: the method of StableVSR.

At each noise level the frames are denoised one after the other, forwards and backwards in turn. A frame is told what
its neighbour, which was denoised just before at the same level, will look like: the neighbour's clean estimate, decoded
and warped onto the frame, conditions the network through the Temporal Conditioning Module (TCM).

Source: StableVSR (arXiv 2311.15908), frame-wise bidirectional sampling and temporal texture guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from starvsr.diffusion.ddpm import DDPM
from starvsr.families.stablevsr.warp import published_warp

OnFrame = Callable[[int, int], None]
"""Told (frames done over all steps, frames to do); raise in it to stop."""


class Networks(Protocol):
    """What sampling asks of the networks."""

    def predict(self, x: Tensor, lq: Tensor, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        """Return the prediction [1, 4, h, w] for a latent.

        Args:
            x: the noisy latent [1, 4, h, w].
            lq: the low-quality frame [1, 3, h, w] in [-1, 1].
            timestep: of the schedule.
            guide: what the frame is to look like, [1, 3, 4h, 4w]; None leaves the TCM out.
            scale: factor on what the TCM adds.
        """
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Return the picture [1, 3, 4h, 4w] of a clean latent [1, 4, h, w], about [-1, 1], not clamped."""
        ...


class Flows(Protocol):
    """Optical flow between enlarged neighbours."""

    def __call__(self, target: int, source: int) -> Tensor:
        """Return the flow [1, 2, 4h, 4w] that says where each pixel of frame ``target`` lies in frame ``source``."""
        ...


@dataclass(frozen=True)
class Guidance:
    """When and how strongly neighbours guide.

    Attributes:
        scale: factor on what the TCM adds.
        begin: share of the steps before which there is no guidance.
        end: share of the steps after which there is none.
        warp: brings the neighbour's picture onto the frame.
    """

    scale: float = 1.0
    begin: float = 0.0
    end: float = 1.0
    warp: Callable[[Tensor, Tensor], Tensor] = published_warp

    def scale_at(self, step: int, num_steps: int) -> float:
        """Return the factor of a step; 0 outside the chosen share of the steps."""
        return 0.0 if step / num_steps < self.begin or (step + 1) / num_steps > self.end else self.scale


def sample(
    networks: Networks,
    scheduler: DDPM,
    lq: Tensor,
    latents: Sequence[Tensor],
    flows: Flows,
    steps: Sequence[tuple[int, int]],
    noise: Callable[[int, int], Tensor],
    *,
    guidance: Guidance | None = None,
    on_frame: OnFrame | None = None,
) -> list[Tensor]:
    """Denoise the frames of a clip.

    Where the guidance has no weight the neighbour is neither decoded nor warped, and the TCM does not run.

    Args:
        networks: UNet with TCM, and decoder.
        scheduler: noise schedule and its steps.
        lq: [N, 3, h, w] in [-1, 1].
        latents: of each frame its unit normal noise [1, 4, h, w].
        flows: optical flow between neighbouring frames; not asked for a single frame.
        steps: (timestep, previous timestep) of each step, see `DDPM.timesteps`.
        noise: ``noise(step, frame)`` is the unit normal noise [1, 4, h, w] of a step; not asked at timestep 0.
        guidance: how neighbours guide.
        on_frame: told after each frame of each step.

    Returns:
        The clean latents [1, 4, h, w] of each frame.
    """
    guidance = guidance or Guidance()
    count, states = len(lq), list(latents)
    order = list(range(count))
    for index, (timestep, previous) in enumerate(steps):
        scale = guidance.scale_at(index, len(steps))
        clean: Tensor | None = None  # of the frame denoised just before
        before = -1
        for position, frame in enumerate(order):
            guide = None
            if clean is not None and scale != 0:
                guide = guidance.warp(networks.decode(clean), flows(frame, before))
            predicted = networks.predict(states[frame], lq[frame : frame + 1], timestep, guide, scale)
            clean = scheduler.clean(predicted, states[frame], timestep)
            drawn = noise(index, frame) if timestep > 0 else None
            states[frame] = scheduler.step(clean, states[frame], timestep, previous, drawn)
            before = frame
            if on_frame is not None:
                on_frame(index * count + position + 1, len(steps) * count)
        order.reverse()  # after every step; the first one goes forwards
    return states


def to_pixels(networks: Networks, latent: Tensor) -> Tensor:
    """Decode a clean latent [1, 4, h, w] to pixels [1, 3, 4h, 4w] in [-1, 1]."""
    return torch.clamp(networks.decode(latent), -1, 1)
