"""Stand-ins for tests: frames without files, models without weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from starvsr.engine.clip_upscaler import ClipUpscaler
from starvsr.engine.executor import LocalExecutor
from starvsr.engine.segments import plan_segments
from starvsr.engine.stream import StreamSettings, upscale_stream
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import StepCallback, Upscaler
from starvsr.families.job_settings import plain_settings


@dataclass(frozen=True)
class ArrayFrame:
    pixels: np.ndarray
    pts: int
    duration: int = 1


def random_frames(
    count: int, height: int, width: int, *, channels: int = 3, dtype: type = np.uint8
) -> list[ArrayFrame]:
    top = int(np.iinfo(dtype).max)
    rng = np.random.default_rng(count + 7 * height + 13 * width)
    size = (count, height, width, channels)
    return [
        ArrayFrame(p, pts=3 * i, duration=3) for i, p in enumerate(rng.integers(0, top, size, dtype, endpoint=True))
    ]


@dataclass
class NearestUpscaler(ClipUpscaler):
    """Repeats each pixel: what goes in can be found in what comes out. Remembers the clips it saw."""

    scale: int = 4
    name: str = "nearest"
    traits: Traits = field(default_factory=Traits)
    calls: list[tuple[tuple[int, ...], int, int, int]] = field(default_factory=list)

    def upscale_clip(
        self, lq: Tensor, *, seed: int, first_frame: int, num_steps: int, on_step: StepCallback | None = None
    ) -> Tensor:
        self.calls.append((tuple(lq.shape), seed, first_frame, num_steps))
        return lq.repeat_interleave(self.scale, 3).repeat_interleave(self.scale, 4)


class DriftingUpscaler(NearestUpscaler):
    """A model whose brightness drifts along each clip, as networks with little context do: shows seams."""

    def upscale_clip(self, lq: Tensor, **arguments) -> Tensor:  # type: ignore[override,no-untyped-def]
        hq = super().upscale_clip(lq, **arguments)
        drift = torch.linspace(-0.1, 0.1, lq.shape[2]).view(1, 1, -1, 1, 1)
        return hq + drift


class TemporalMeanUpscaler(NearestUpscaler):
    """A model whose result is the mean over its clip: leaks whatever the clip holds."""

    def upscale_clip(self, lq: Tensor, **arguments) -> Tensor:  # type: ignore[override,no-untyped-def]
        hq = super().upscale_clip(lq, **arguments)
        return hq.mean(2, keepdim=True).expand_as(hq)


class NoisyUpscaler(NearestUpscaler):
    """A model that adds noise keyed by seed and absolute frame index."""

    def upscale_clip(self, lq: Tensor, **arguments) -> Tensor:  # type: ignore[override,no-untyped-def]
        hq = super().upscale_clip(lq, **arguments)
        for index in range(lq.shape[2]):
            generator = torch.Generator().manual_seed(1000 * arguments["seed"] + arguments["first_frame"] + index)
            hq[:, :, index] += 0.2 * torch.randn(1, generator=generator) * arguments["num_steps"]
        return hq


def stream_through(upscaler: Upscaler, frames, sink, settings: StreamSettings, *, cuts=(), **details) -> int:  # type: ignore[no-untyped-def]
    """Run frames through the stream in a job of its own, with the model's traits and scale.

    Args:
        cuts: First frames of shots.
        details: Of `upscale_stream`; ``num_frames`` is needed where the frames have no length.
    """
    job = plain_settings(upscaler)
    plan = settings.render.plan
    render = replace(settings.render, settings=job, traits=upscaler.traits_for(job.values))
    num_frames = details.pop("num_frames", None) or len(frames)
    segments = plan_segments(num_frames, plan.length, plan.overlap, plan.crossfade, cuts, plan.overlap_after)
    with upscaler.open(job, plan) as session:
        executor = LocalExecutor(session)
        return upscale_stream(frames, segments, sink, executor, replace(settings, render=render), **details)
