"""One real optimiser step of a mid-size STAR on a CPU: seconds, memory, and that the right part moved.

    python -m benchmarks.speed.train_step [--width 64] [--frames 4] [--threads 1]

The network is the published one at a smaller width (64: about 90 M parameters), with the objective of STAR: ControlNet
and LIEM learn, the rest is frozen; velocity and dynamic frequency loss, bfloat16 off, blocks recomputed. The codec is
the exact one of star-small, captions are random features.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import AdamW

from starvsr.data.pool import Batch
from starvsr.models.codecs import PixelUnshuffleCodec
from starvsr.models.star.config import StarUNetConfig
from starvsr.training.families.star import STAR_PARTS, recompute_blocks
from starvsr.training.families.star_i2vgen_parts import CaptionedStar
from starvsr.training.families.star_small import StarSmallModel
from starvsr.training.freezing import choose_trained
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.recipe import make_stage


class MidSizeStar(StarSmallModel):
    """The published network on the exact codec; fixed random features stand in for a text encoder."""

    def context(self, captions: Sequence[str | None]) -> tuple[Tensor, ...]:
        """Return features [B, 77, 1024]."""
        return (torch.randn(len(captions), 77, 1024, generator=torch.Generator().manual_seed(0)),)


def build(width: int) -> MidSizeStar:
    """Build a STAR of this width."""
    torch.manual_seed(0)
    config = StarUNetConfig(in_channels=48, out_channels=48, width=width)
    network = CaptionedStar(config)
    for parameter in network.parameters():  # layers that start at zero would stop the gradient of a first step
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    recompute_blocks(network)
    codec = PixelUnshuffleCodec()
    return MidSizeStar(name="star", scale=4, network=network, parts=STAR_PARTS, codec=codec, one_step_timestep=250)


def take_step(model: MidSizeStar, num_frames: int) -> dict[str, float]:
    """Take one step on a made clip and tell what it cost and what moved."""
    stage = make_stage("star", 1, velocity={"decode_slice": 2})
    trained = set(choose_trained(model.network, model.parts, stage))
    before = {name: float(value.detach().double().sum()) for name, value in model.network.named_parameters()}
    optimizer = AdamW([p for p in model.network.parameters() if p.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    gt = torch.rand(1, 3, num_frames, 72, 96, generator=generator) * 2 - 1
    batch = Batch(lq=torch.nn.functional.avg_pool3d(gt, (1, 4, 4)), gt=gt, caption=["noise"], name=["made"])
    began = time.perf_counter()
    losses = OBJECTIVES["star"].compute(model, batch, stage.tables, {}, torch.Generator().manual_seed(2)).losses
    torch.stack(list(losses.values())).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
    optimizer.step()
    seconds = time.perf_counter() - began
    after = {name: float(value.detach().double().sum()) for name, value in model.network.named_parameters()}
    moved = {name for name in before if before[name] != after[name]}
    assert moved <= trained, "a frozen parameter moved"
    parameters = list(model.network.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
        "tensors_moved": len(moved),
        "gradient_norm": float(norm),
        **{name: float(value.detach()) for name, value in losses.items()},
        "seconds": round(seconds, 2),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the step and print what it cost."""
    parser = argparse.ArgumentParser(description="One optimiser step of a mid-size STAR on a CPU.")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(json.dumps(take_step(build(options.width), options.frames), indent=1))


if __name__ == "__main__":
    main()
