"""Frame-wise bidirectional sampling with temporal texture guidance: the method of StableVSR.

At each noise level the frames are denoised one after the other, forwards and backwards in turn. A frame is told what
its neighbour, which was denoised just before at the same level, will look like: the neighbour's clean estimate, decoded
and warped onto the frame, conditions the network through the Temporal Conditioning Module (TCM).

Source: StableVSR (arXiv 2311.15908), frame-wise bidirectional sampling and temporal texture guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from starvsr.diffusion.ddpm import DDPM
from starvsr.errors import OptionError
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


State = TypeVar("State")
"""What a network keeps of a frame between its halves."""


class SplitNetworks(Networks, Protocol[State]):
    """Networks whose first half runs for several frames at once, since it does not depend on the guidance."""

    def encode(self, x: Tensor, lq: Tensor, timestep: int) -> list[State]:
        """Run the first half.

        Args:
            x: noisy latents [B, 4, h, w].
            lq: low-quality frames [B, 3, h, w] in [-1, 1].
            timestep: of the schedule.

        Returns:
            What the second half needs of each frame.
        """
        ...

    def finish(self, state: State, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        """Return what `predict` returns for a frame."""
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
        every: one step of so many is guided, the others save what guidance costs. Guided steps go forwards and
            backwards in turn, whatever the number.
        warp: brings the neighbour's picture onto the frame.
    """

    scale: float = 1.0
    begin: float = 0.0
    end: float = 1.0
    every: int = 1
    warp: Callable[[Tensor, Tensor], Tensor] = published_warp

    def __post_init__(self) -> None:
        """Refuse a share of the steps that ends before it begins, and limits of a guidance that has no weight."""
        if self.begin > self.end:
            raise OptionError(
                f"--texture-start {self.begin:g} lies after --texture-end {self.end:g}: give the smaller one first"
            )

    def scale_at(self, step: int, num_steps: int) -> float:
        """Return the factor of a step; 0 in steps that are not guided."""
        block = step // self.every
        guided = block * self.every + (block % 2 if self.every % 2 == 0 else 0)  # a step of the other direction
        if step != guided or step / num_steps < self.begin or (step + 1) / num_steps > self.end:
            return 0.0
        return self.scale


def sample(
    networks: Networks | SplitNetworks[Any],
    scheduler: DDPM,
    lq: Tensor,
    latents: Sequence[Tensor],
    flows: Flows,
    steps: Sequence[tuple[int, int]],
    noise: Callable[[int, int], Tensor],
    *,
    guidance: Guidance | None = None,
    at_once: int = 0,
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
        at_once: frames whose first half of the UNet runs at once, by `SplitNetworks`; 0 runs the UNet as a whole.
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
        predictions = _predictions(networks, lq, states, order, timestep, at_once)
        for position, (frame, predict) in enumerate(predictions):
            guide = None
            if clean is not None and scale != 0:
                guide = guidance.warp(networks.decode(clean), flows(frame, before))
            predicted = predict(guide, scale)
            clean = scheduler.clean(predicted, states[frame], timestep)
            drawn = noise(index, frame) if timestep > 0 else None
            states[frame] = scheduler.step(clean, states[frame], timestep, previous, drawn)
            before = frame
            if on_frame is not None:
                on_frame(index * count + position + 1, len(steps) * count)
        order.reverse()  # after every step; the first one goes forwards
    return states


Predict = Callable[[Tensor | None, float], Tensor]
"""(guide, scale) -> prediction of one frame."""


def _predictions(
    networks: Networks | SplitNetworks[Any],
    lq: Tensor,
    states: Sequence[Tensor],
    order: Sequence[int],
    timestep: int,
    at_once: int,
) -> Iterator[tuple[int, Predict]]:
    """Yield each frame in its order with its prediction, once the guide is known.

    A frame's latent at this timestep does not depend on its neighbours', so it may be read ahead.
    """
    if at_once == 0:
        for frame in order:
            yield frame, partial(networks.predict, states[frame], lq[frame : frame + 1], timestep)
        return
    split = cast("SplitNetworks[Any]", networks)
    for start in range(0, len(order), at_once):
        block = list(order[start : start + at_once])
        encoded = split.encode(torch.cat([states[frame] for frame in block]), lq[block], timestep)
        encoded.reverse()

        def finish(guide: Tensor | None, scale: float, encoded: list[Any] = encoded) -> Tensor:
            return split.finish(encoded.pop(), timestep, guide, scale)  # and is freed, before the next ones are made

        yield from ((frame, finish) for frame in block)


def to_pixels(networks: Networks, latent: Tensor) -> Tensor:
    """Decode a clean latent [1, 4, h, w] to pixels [1, 3, 4h, 4w] in [-1, 1]."""
    return torch.clamp(networks.decode(latent), -1, 1)
