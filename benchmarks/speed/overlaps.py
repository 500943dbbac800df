"""Count what causal-sr's network sees of each input pixel: tiles that overlap, context that is computed again.

    python -m benchmarks.speed.overlaps [--sizes 426x240 640x360 ...] [--width 64] [--frames 48]

The plan, the segments, the tiles and the session are those of a job; the network is one that counts and gives nothing,
so this is about areas and not about time. "Alone": each segment in a session of its own, as in worker processes or
just after an interruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from starvsr.engine.chunk_plan import ChunkPlan, PlanInput, Sizes
from starvsr.engine.segments import Segment, plan_segments
from starvsr.engine.upscaler import Session
from starvsr.families.causal_sr.pipeline import CausalPipeline
from starvsr.families.causal_sr.spec import CAUSAL_SR
from starvsr.families.job_settings import plain_settings
from starvsr.models.causal_sr import SCALE, CausalSR, CausalSRConfig, State
from starvsr.options import JobOptions
from starvsr.quantities import parse_box

SIZES = ("426x240", "640x360", "960x540", "1280x720", "1920x1080")


class CountingNetwork(CausalSR):
    """Counts the pixels that it is shown; results and states are zeros."""

    seen_px = 0

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Count a frame; see the base class."""
        return torch.zeros(1, 3, 1, 1), self.advance(frame, state)

    def advance(self, frame: Tensor, state: State | None = None) -> State:
        """Count a frame; see the base class."""
        self.seen_px += frame.shape[-2] * frame.shape[-1]
        return (torch.zeros(1, self.config.shifted_channels, 1, 1),) * self.config.memory


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--width", type=int, default=64, help="channels of the trunk, which memory depends on")
    parser.add_argument("--frames", type=int, default=48)
    options = parser.parse_args(arguments)
    pipeline = CausalPipeline(CAUSAL_SR, CountingNetwork(CausalSRConfig(width=options.width, shared_head=True)))
    print("| size | plan | seen per input pixel | alone |\n| --- | --- | --- | --- |")
    for size in options.sizes:
        width, height = parse_box(size)
        sizes = Sizes(height, width, SCALE, SCALE * height, SCALE * width)
        plan = pipeline.plan(PlanInput(sizes, JobOptions()), plain_settings(pipeline))
        shares = [seen(pipeline, plan, options.frames, carried=carried) for carried in (True, False)]
        print(f"| {size} | {plan.describe()} | {shares[0]:.3f} | {shares[1]:.3f} |", flush=True)


def seen(pipeline: CausalPipeline, plan: ChunkPlan, num_frames: int, *, carried: bool) -> float:
    """Return the input pixels that the network is shown for each one that there is."""
    network = pipeline.network
    assert isinstance(network, CountingNetwork)
    network.seen_px = 0
    settings = plain_settings(pipeline)
    segments = plan_segments(num_frames, plan.length, plan.overlap, plan.crossfade, (), plan.overlap_after)
    with pipeline.open(settings, plan) as session:
        for segment in segments:
            frames = torch.arange(segment.start, segment.stop) / num_frames
            clip = frames[None, None, :, None, None].expand(1, 3, -1, plan.grid.height, plan.grid.width)
            keep = slice(segment.keep_start - segment.start, segment.keep_stop - segment.start)
            for tile in plan.grid.tiles(SCALE):
                lq = clip[..., tile.rows, tile.columns]
                if carried:
                    _show(session, lq, keep, segment)
                else:
                    with pipeline.open(settings, plan) as alone:
                        _show(alone, lq, keep, segment)
    return network.seen_px / (num_frames * plan.grid.height * plan.grid.width)


def _show(session: Session, lq: Tensor, keep: slice, segment: Segment) -> None:
    for _ in session.upscale(lq, keep, segment=segment, first_frame=0):
        pass


if __name__ == "__main__":
    main()
