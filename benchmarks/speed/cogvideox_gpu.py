"""Time and memory of STAR on CogVideoX-5B at full size (5.57 billion parameters) on a GPU, with random weights.

    python -m benchmarks.speed.cogvideox_gpu [--cases resident offload ...] [--steps 50] [--write docs/models.md]
    python -m benchmarks.speed.cogvideox_gpu --tiny --device cpu      # small networks, to see that it works

Each case restores 25 frames of 720x480 with the published guidance. Told are seconds, the peak that torch allocated,
the prediction, and the share of the time that the sums alone take at a peak rate (`--peak-tflops`, 790 for dense
bfloat16 of an H100 or H200): both passes of all steps, encoding and decoding. Steps in which the weight of the prompt
is 1 make one pass only, so more than the whole is possible. Random weights change neither time nor memory.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.marked import replace_marked
from benchmarks.memory.cogvideox_memory import PUBLISHED_VAE, SMALL, SMALL_VAE
from benchmarks.published.star_cpu import fill_quickly
from starvsr.engine.traits import Traits
from starvsr.families.star_cogvideox.pipeline import Sampling, StarCogVideoXPipeline
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.families.star_cogvideox.schedule import NUM_STEPS
from starvsr.families.star_cogvideox.tiles import CELL_PX, TRAINED_CELLS, latent_count
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.lean_vae import decode_piece, encode
from starvsr.models.cogvideox.transformer import build_transformer
from starvsr.models.int8 import to_int8, weight_bytes
from starvsr.models.weights import build_empty
from starvsr.offload.footprint import ClipSize, predict
from starvsr.offload.trace import LiveBytes

BEGIN, END = "<!-- cogvideox gpu: begin -->", "<!-- cogvideox gpu: end -->"
GB = 2**30
CASES = {
    "resident": ("bf16", CogVideoXPlan()),
    "offload": ("bf16", CogVideoXPlan("offload")),
    "offload, coding tiles": ("bf16", CogVideoXPlan("offload", coding_tiles=(2, 2))),
    "stream": ("bf16", CogVideoXPlan("stream", coding_tiles=(2, 2))),
    "int8": ("int8", CogVideoXPlan()),
    "int8, stream": ("int8", CogVideoXPlan("stream", coding_tiles=(2, 2))),
}
"""Precision and plan of each case. Those in 8 bits come last, since weights are not brought back."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks and of the clip."""

    transformer: TransformerConfig
    vae: dict[str, Any]
    frames: int
    cells: tuple[int, int]

    @property
    def clip(self) -> ClipSize:
        """Frames and latent cells."""
        return ClipSize(self.frames, *self.cells)


FULL = Sizes(TransformerConfig.published_5b(), PUBLISHED_VAE, 25, TRAINED_CELLS)
TINY = Sizes(SMALL, SMALL_VAE, 5, (2, 4))


def empty_vae(sizes: Sizes) -> Any:
    """Return the VAE on the meta device."""
    library: Any = import_module("diffusers")
    blocks = {"down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4}
    return build_empty(lambda: library.AutoencoderKLCogVideoX(**sizes.vae, **blocks, latent_channels=16)).eval()


def flops(sizes: Sizes, steps: int) -> float:
    """Return the sums of a clip: both passes of each step, encoding, decoding; counted on the meta device."""
    count, vae = latent_count(sizes.frames), empty_vae(sizes)
    rows, columns = sizes.cells
    text = torch.empty(1, sizes.transformer.max_text_seq_length, sizes.transformer.text_embed_dim, device="meta")
    latents = torch.empty(1, count, sizes.transformer.in_channels, rows, columns, device="meta")

    def call_of(layers: int) -> float:
        network = build_transformer(replace(sizes.transformer, num_layers=layers))
        return _counted(lambda: network(latents, torch.zeros(1, device="meta"), text))

    calls = [call_of(layers) for layers in (1, 2)]
    call = calls[0] + (sizes.transformer.num_layers - 1) * (calls[1] - calls[0])

    def coding_of(frames: int) -> float:
        pixels = torch.empty(1, 3, frames, CELL_PX * rows, CELL_PX * columns, device="meta")
        pieces = torch.empty(1, 16, latent_count(frames), rows, columns, device="meta")
        return _counted(lambda: (encode(vae.encoder, pixels), decode_piece(vae.decoder, pieces, {})))

    coding = [coding_of(frames) for frames in (1, 9)]  # one latent frame, and three: each further one costs the same
    return 2 * steps * call + coding[0] + (count - 1) * (coding[1] - coding[0]) / 2


def _counted(call: Callable[[], Any]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


class Bench:
    """Networks with random weights, and what is measured with them.

    Args:
        sizes: Of networks and clip.
        device: Where they compute.
        steps: Sampling steps.
        peak_tflops: Rate that the bound is made with.
    """

    def __init__(self, sizes: Sizes, device: torch.device, steps: int, peak_tflops: float) -> None:
        self.sizes, self.device, self.steps = sizes, device, steps
        self.bound = flops(sizes, steps) / (peak_tflops * 1e12)
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self.transformer, self.vae = build_transformer(sizes.transformer), empty_vae(sizes)
        for network in (self.transformer, self.vae):
            nn.Module.to(network, dtype)
            fill_quickly(network)
            network.requires_grad_(False)
        self._in_8_bits = False

    def measure(self, name: str) -> dict[str, float]:
        """Restore the clip as a case says, and return what it took: seconds and bytes."""
        precision, plan = CASES[name]
        if precision == "int8" and not self._in_8_bits:
            to_int8(self.transformer)
            self._in_8_bits = True
        config = self.sizes.transformer
        text = torch.randn(1, config.max_text_seq_length, config.text_embed_dim)
        sampling = Sampling(text, torch.zeros_like(text))
        pipeline = StarCogVideoXPipeline(
            "random", self.transformer, self.vae, sampling, scale=1, traits=Traits(), device=self.device
        )
        pipeline.memory.apply_plan(plan)
        rows, columns = self.sizes.cells
        lq = torch.rand(1, 3, self.sizes.frames, CELL_PX * rows, CELL_PX * columns) * 2 - 1
        prediction = predict(pipeline.memory.footprint, self.sizes.clip, plan)
        restore = pipeline.upscale_frames
        on_gpu = self.device.type == "cuda"
        if on_gpu:  # kernels are chosen and loaded in the first call
            list(restore(lq, slice(0, 1), num_steps=1))
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        weights = [each for network in (self.transformer, self.vae) for each in network.state_dict().values()]
        notes = len(pipeline.notes)
        with nullcontext() if on_gpu else LiveBytes([*weights, lq]) as live:
            began = time.perf_counter()
            for frame in restore(lq, slice(None), num_steps=self.steps):
                frame.to("cpu")
            if on_gpu:
                torch.cuda.synchronize(self.device)
            seconds = time.perf_counter() - began
        there = weight_bytes(self.transformer) + weight_bytes(self.vae) if plan.place == "resident" else 0
        peak = torch.cuda.max_memory_allocated(self.device) if live is None else live.peak + there
        ran_out = len(pipeline.notes) > notes
        pipeline.memory.end()
        return {
            "seconds": seconds,
            "share_of_bound": self.bound / seconds,
            "allocated": peak,
            "predicted": prediction.peak,
            "ran_out": ran_out,
        }


def report(told: dict[str, dict[str, float]], bench: Bench) -> str:
    """Put measurements into words and a table."""
    where = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else platform.machine()
    rows, columns = bench.sizes.cells
    clip = f"{bench.sizes.frames} frames of {CELL_PX * columns}x{CELL_PX * rows}"
    lines = [
        f"{where}, torch {torch.__version__}, random weights, {clip}, {bench.steps} steps; bound {bench.bound:.3g} s:",
        "",
        "| case | seconds | share of the bound | allocated | predicted |",
        "|---|---|---|---|---|",
    ]
    for name, case in told.items():
        sizes = " | ".join(f"{case[key] / GB:.2f} GB" for key in ("allocated", "predicted"))
        label = name + " (memory ran out)" * bool(case["ran_out"])
        lines.append(f"| {label} | {case['seconds']:.1f} | {100 * case['share_of_bound']:.0f} % | {sizes} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 2 without the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and a small clip")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--peak-tflops", type=float, default=790.0)
    parser.add_argument("--write", type=Path, help="Markdown file whose part between marks is replaced")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device: run this on a machine with one, or give --tiny --device cpu to try it out")
        return 2
    if device.type == "cpu" and not options.tiny:
        print("the full size would take a CPU days: give --tiny, or a GPU by --device")
        return 2
    bench = Bench(TINY if options.tiny else FULL, device, options.steps, options.peak_tflops)
    told = {}
    for name in (name for name in CASES if name in options.cases):
        told[name] = bench.measure(name)
        print(f"{name}: {told[name]}", flush=True)
    table = report(told, bench)
    print(table)
    if options.write:
        replace_marked(options.write, BEGIN, END, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
