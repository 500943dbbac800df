"""Time one call of the full-size STAR network (2.04 B parameters) on a CPU, in float32, and its memory.

    python -m benchmarks.published.star_cpu [--latent 3 10 16] [--threads 1] [--rounds 3] [--out results/star_cpu]

A call is UNet and ControlNet with one context of 77 tokens, as a sampling step makes two of. Weights are random: they
change neither time nor memory. Seconds are CPU time of the process, so that a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from starvsr.engine.allocator import keep_freed_memory
from starvsr.families.star_i2vgen.load import arrange_weights
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights import build_empty

CONTEXT_TOKENS = 77
_BLOCK = 1 << 22


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    config = StarUNetConfig(width=options.width, context_dim=options.context)
    network = build_empty(lambda: StarUNet(config)).eval().requires_grad_(False)
    fill_quickly(network)
    arrange_weights(network)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    frames, height, width = options.latent
    seconds, walls = [], []
    for _ in range(options.rounds + 1):
        cpu, wall = time_call(network, frames, height, width)
        seconds.append(cpu)
        walls.append(wall)
    seconds, walls = seconds[1:], walls[1:]  # the first call warms up
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {
        "latent": [config.in_channels, frames, height, width],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "threads": options.threads,
        "cpu_seconds": seconds,
        "wall_seconds": walls,
        "weights_bytes": weights,
        "peak_bytes": peak,
        "load_average": os.getloadavg(),
    }
    print(
        f"latent {config.in_channels}x{frames}x{height}x{width}, {told['parameters']:,} parameters, float32, "
        f"{options.threads} thread{'s' if options.threads > 1 else ''}:\n"
        f"  CPU time of a call: least {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s\n"
        f"  peak memory {peak / 2**30:.2f} GiB, of which weights {weights / 2**30:.2f} GiB; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "star_cpu.json").write_text(json.dumps(told, indent=1) + "\n")


def fill_quickly(network: nn.Module) -> None:
    """Give an empty network memory and random weights of unit gain, all from one small block of numbers."""
    network.to_empty(device="cpu")
    block = torch.empty(_BLOCK).normal_(generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            flat = parameter.view(-1)
            gain = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            for part in flat.split(_BLOCK):
                torch.mul(block[: len(part)], gain, out=part)
            if parameter.ndim == 1:
                flat += 1.0


def time_call(network: StarUNet, frames: int, height: int, width: int) -> tuple[float, float]:
    """Return CPU and wall seconds of one call."""
    generator = torch.Generator().manual_seed(1)
    x, hint = torch.randn(2, 1, network.config.in_channels, frames, height, width, generator=generator)
    context = torch.randn(1, CONTEXT_TOKENS, network.config.context_dim, generator=generator)
    with torch.inference_mode():
        cpu, wall = time.process_time(), time.perf_counter()
        out = network(x, torch.tensor([500]), context, hint)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert bool(out.isfinite().all())
    return cpu, wall


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latent", type=int, nargs=3, default=(3, 10, 16), metavar=("T", "H", "W"), help="size")
    parser.add_argument("--width", type=int, default=320, help="channels at full latent resolution (320 as published)")
    parser.add_argument("--context", type=int, default=1024, help="features of a context token")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/star_cpu"))
    return parser


if __name__ == "__main__":
    main()
