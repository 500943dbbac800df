"""How long a job will take, from a trial of its model on a small clip; a few sampling steps stand for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starvsr.engine.segments import Segment

if TYPE_CHECKING:
    import torch

    from starvsr.engine.upscaler import Session

NUM_FRAMES = 4
SIDES = (16, 32, 64, 128)
"""Sides of the trial clip in pixels: the larger, the truer."""

PATIENCE_S = 1.0
"""A longer trial is not followed by a larger one, which takes about four times as long."""

STEPS = 3
"""Sampling steps that are made: the first one prepares, and the others may differ (features kept from step to step)."""


def seconds_per_pixel(
    session: Session,
    num_steps: int,
    largest_side: int,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
    *,
    num_frames: int = NUM_FRAMES,
    least_side: int = 1,
) -> float:
    """Return the time for an input pixel of a frame, from the largest trial that does not take long.

    Args:
        session: The model at work for the job.
        num_steps: Sampling steps of the job.
        largest_side: Side in pixels beyond which a trial would not be like the job.
        device: Where the model computes.
        clock: Tells seconds.
        num_frames: Frames of the trial clip, as many as the model takes at once.
        least_side: Side in pixels below which the model takes no frames.
    """
    import torch

    sides = [side for side in SIDES if least_side <= side <= largest_side] or [largest_side]
    with torch.inference_mode():
        for side in sides:
            lq = torch.zeros(1, 3, num_frames, side, side, device=device)
            began = clock()
            seconds = seconds_of_clip(session, lq, num_steps, clock)
            if clock() - began > PATIENCE_S or side == sides[-1]:
                break
        if clock() - began < PATIENCE_S:
            seconds = min(seconds, seconds_of_clip(session, lq, num_steps, clock))
    return seconds / lq[0, 0].numel()


def seconds_of_clip(
    session: Session, lq: torch.Tensor, num_steps: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how long a clip [1, 3, T, H, W] takes with so many steps, of which the first few are made.

    What follows the last step, a small part where there are many, is then not counted.
    """
    ends: list[float] = []

    def on_step(step: int, _num_steps: int) -> None:
        ends.append(clock())
        if step == STEPS < num_steps:
            raise _EnoughError

    began = clock()
    try:
        whole = Segment(0, 0, lq.shape[2], 0, lq.shape[2])
        for _frame in session.upscale(lq, slice(0, lq.shape[2]), segment=whole, first_frame=0, on_step=on_step):
            pass
    except _EnoughError:
        return ends[-1] - began + (num_steps - STEPS) * (ends[-1] - ends[0]) / (STEPS - 1)
    return clock() - began


class _EnoughError(Exception):
    """The trial has seen enough steps."""
