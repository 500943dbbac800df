"""Clips and runs that the tests of StableVSR share."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from starvsr.engine.segments import Segment
from starvsr.families.job_settings import plain_settings


def clip(frames: int = 4, height: int = 32, width: int = 36, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1


def run(model: Any, lq: Tensor, *, steps: int = 2, seed: int = 0, on_step: Any = None, **values: Any) -> Tensor:
    """Enlarge a clip in one session with these options; [T, 3, 4H, 4W]."""
    job = dataclasses.replace(plain_settings(model, seed=seed, **values), num_steps=steps)
    whole = Segment(0, 0, lq.shape[2], 0, lq.shape[2])
    with model.open(job) as session:
        frames = session.upscale(lq, slice(0, lq.shape[2]), segment=whole, first_frame=0, on_step=on_step)
        return torch.stack(list(frames))
