"""Hold the predicted memory of STAR on CogVideoX against counted bytes, and tell plans for typical cards.

    python -m benchmarks.memory.cogvideox_memory [--settings 20] [--only count plans] [--write docs/models.md]

Needs neither weights nor a GPU. Counted are the bytes of all tensors alive, weights included, while small networks with
random weights restore a clip on the CPU, phase by phase: over random sizes, windows, tiles of both networks, scales,
places of the weights, and weights in 8 bits. The CPU stands in for the device: offloaded and streamed weights are
copied and freed there as on a GPU. Plans are for the published sizes, from networks on the meta device, in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.marked import replace_marked
from starvsr.engine.traits import Traits
from starvsr.families.star_cogvideox.codec import PIECE_FRAMES
from starvsr.families.star_cogvideox.footprint import DECODE, ENCODE, SAMPLE, TRANSFORMER, VAE, CogVideoXFootprint
from starvsr.families.star_cogvideox.guidance import GuidanceCurve
from starvsr.families.star_cogvideox.pipeline import Sampling, StarCogVideoXPipeline
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.families.star_cogvideox.tiles import TRAINED_CELLS, latent_count
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.transformer import build_transformer
from starvsr.models.int8 import largest_unpacked, to_int8, weight_bytes
from starvsr.models.weights import build_empty
from starvsr.offload.footprint import ClipSize, PlanLimits, predict
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.search import choose
from starvsr.offload.trace import LiveBytes
from starvsr.offload.traced import ComponentBytes
from starvsr.offload.weights import Component
from starvsr.quantities import format_size

GB = 2**30
CARDS_GB = (8, 10, 12, 16, 24, 48)
FRAMES = 25
SEEN = 45
"""Frames of a segment with its context."""
INPUTS = {"720x480 x1": (60, 90), "480x270 x4": (136, 240)}
"""Rows and columns of latent cells."""
BEGIN, END = "<!-- cogvideox memory: begin -->", "<!-- cogvideox memory: end -->"
SMALL = TransformerConfig(
    num_attention_heads=4, attention_head_dim=16, num_layers=4, time_embed_dim=32, text_embed_dim=32
)
SMALL_VAE = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1}
PUBLISHED_VAE = {"block_out_channels": (128, 256, 256, 512), "layers_per_block": 3}


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Args:
        frames: Frames of the clip, 4k + 1.
        rows: Latent cells of a frame.
        columns: Latent cells of a frame.
        window: Frames that the transformer sees at once.
        scale: Enlargement.
        plan: Place of the weights and tiles.
        guided: Whether the pass without prompt is made.
        in_8_bits: Whether the transformer's weights are kept in 8 bits.
    """

    frames: int = 5
    rows: int = 6
    columns: int = 8
    window: int = 25
    scale: int = 1
    plan: CogVideoXPlan = field(default_factory=CogVideoXPlan)
    guided: bool = True
    in_8_bits: bool = False

    def describe(self) -> str:
        """Describe it in words."""
        words = f"{self.frames} frames of {self.columns}x{self.rows} cells, windows of {self.window}, x{self.scale}"
        return f"{words}; {'int8; ' * self.in_8_bits}{self.plan.describe()}"


@dataclass(frozen=True)
class Phase:
    """Bytes of a phase, weights included: predicted without margin, and counted."""

    predicted: int
    counted: int

    @property
    def ratio(self) -> float:
        """Predicted over counted."""
        return self.predicted / self.counted


def random_setting(chance: random.Random) -> Setting:
    """Draw a setting."""
    rows, columns = (2 * chance.randint(2, 7) for _ in range(2))
    scale = chance.choice((1, 2, 4))

    def tiling(least: int) -> tuple[int, int]:
        down, across = (chance.choice((1, 2)) if side >= least else 1 for side in (rows, columns))
        return down, across

    return Setting(
        frames=chance.choice((1, 5, 9, 13, 17)),
        rows=rows,
        columns=columns,
        window=chance.choice((5, 9, 25)),
        scale=scale,
        plan=CogVideoXPlan(chance.choice(PLACES), tiling(8), 2, tiling(12)),
        guided=chance.random() < 0.5,
        in_8_bits=chance.random() < 0.4,
    )


def small_networks(in_8_bits: bool = False) -> tuple[Any, Any]:
    """Return a small transformer and a small VAE with random weights."""
    torch.manual_seed(0)
    transformer = build_transformer(SMALL, "cpu").requires_grad_(False)
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.05)
    if in_8_bits:
        to_int8(transformer)
    library: Any = import_module("diffusers")
    vae = library.AutoencoderKLCogVideoX(
        **SMALL_VAE, latent_channels=16, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
    )  # fmt: skip
    return transformer, vae.eval().requires_grad_(False)


class PhaseCounter:
    """Counts the peak of each phase of a pipeline while it runs.

    Args:
        pipeline: What runs; its memory manager tells it when a phase begins.
        live: Counts.
    """

    def __init__(self, pipeline: StarCogVideoXPipeline, live: LiveBytes) -> None:
        self.peaks: dict[str, int] = {}
        self._live, self._run = live, pipeline.memory.attempt_each
        pipeline.memory.attempt_each = self._attempt_each  # type: ignore[method-assign]

    def _attempt_each(self, phase: str, clip: ClipSize, work: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        self._live.peak = self._live.live
        try:
            yield from self._run(phase, clip, work)
        finally:  # where one result is wanted, no second one is asked for
            self.peaks[phase] = self._live.peak


def measure(setting: Setting, networks: tuple[Any, Any] | None = None) -> dict[str, Phase]:
    """Restore a clip and compare each phase with its prediction.

    Args:
        setting: How.
        networks: See `small_networks`; None makes them.
    """
    transformer, vae = networks or small_networks(setting.in_8_bits)
    text = torch.randn(1, SMALL.max_text_seq_length, SMALL.text_embed_dim)
    guidance = GuidanceCurve(3.0 if setting.guided else 1.0, "constant")
    sampling = Sampling(text, torch.zeros_like(text), guidance, setting.window)
    pipeline = StarCogVideoXPipeline("random", transformer, vae, sampling, scale=setting.scale, traits=Traits())
    pipeline.memory.apply_plan(setting.plan)
    height, width = (8 * cells // setting.scale for cells in (setting.rows, setting.columns))
    lq = torch.rand(1, 3, setting.frames, height, width) * 2 - 1
    weights = [each for network in (transformer, vae) for each in network.state_dict().values()]
    restore = StarCogVideoXPipeline.upscale_frames.__wrapped__  # type: ignore[attr-defined]
    with torch.no_grad(), LiveBytes([*weights, *pipeline._texts, lq]) as live:  # those of inference mode do not count
        counter = PhaseCounter(pipeline, live)
        for _ in restore(pipeline, lq, slice(None), num_steps=2):
            pass
    pipeline.memory.end()
    there = lq.nbytes
    if setting.plan.place == "resident":  # others copy what they need
        there += weight_bytes(transformer) + weight_bytes(vae)
    clip = ClipSize(setting.frames, setting.rows, setting.columns)
    predicted = predict(pipeline.memory.footprint, clip, setting.plan)
    return {name: Phase(predicted.of(name), peak + there) for name, peak in counter.peaks.items()}


def count(number: int) -> str:
    """Measure random settings, print each, and return a summary as Markdown."""
    chance, networks = random.Random(0), {flag: small_networks(flag) for flag in (False, True)}
    ratios: dict[str, list[float]] = {ENCODE: [], SAMPLE: [], DECODE: [], "all": []}
    for _ in range(number):
        setting = random_setting(chance)
        found = measure(setting, networks[setting.in_8_bits])
        for name, phase in found.items():
            ratios[name].append(phase.ratio)
        peaks = [max(getattr(phase, kind) for phase in found.values()) for kind in ("predicted", "counted")]
        ratios["all"].append(peaks[0] / peaks[1])
        told = ", ".join(f"{name} {phase.ratio:.3f}" for name, phase in found.items())
        print(f"{setting.describe()}: predicted over counted {told}; peak {ratios['all'][-1]:.3f}", flush=True)
    lines = [f"| predicted over counted, {number} settings | least | median | most |", "|---|---|---|---|"]
    labels = {ENCODE: "encoding", SAMPLE: "sampling", DECODE: "decoding", "all": "largest of the three"}
    for name, label in labels.items():
        values = sorted(ratios[name])
        lines.append(f"| {label} | {values[0]:.3f} | {values[len(values) // 2]:.3f} | {values[-1]:.3f} |")
    return "\n".join(lines)


def published(precision: str) -> CogVideoXFootprint:
    """Return the footprint of the 5B on a GPU, in bfloat16 or with weights in 8 bits ("int8")."""
    config = TransformerConfig.published_5b()
    transformer = build_transformer(config)
    nn.Module.to(transformer, torch.bfloat16)
    if precision == "int8":
        to_int8(transformer)
    library: Any = import_module("diffusers")
    settings = {
        **PUBLISHED_VAE, "latent_channels": 16, "down_block_types": ("CogVideoXDownBlock3D",) * 4,
        "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    }  # fmt: skip
    vae = build_empty(lambda: library.AutoencoderKLCogVideoX(**settings))
    nn.Module.to(vae, torch.bfloat16)
    parts = {TRANSFORMER: Component(transformer, list(transformer.transformer_blocks)), VAE: Component(vae)}
    return CogVideoXFootprint(
        config=config,
        vae=json.dumps({key: value for key, value in dict(vae.config).items() if key[0] != "_"}, sort_keys=True),
        dtype=torch.bfloat16,
        components={name: ComponentBytes.of(component) for name, component in parts.items()},
        unpacked=largest_unpacked(transformer),
        window=int(1.25 * latent_count(FRAMES)),
        piece=PIECE_FRAMES,
        scale=1,
        device="cuda",
    )


def plans() -> str:
    """Return what 25 frames of 720x480 need by place of the weights, and the plans for cards, as Markdown."""
    lines = [
        f"| 5B, {FRAMES} frames of 720x480 | encoding | sampling | decoding | decoding in 4 tiles |",
        "|---" * 5 + "|",
    ]
    footprints = {precision: published(precision) for precision in ("bf16", "int8")}
    clip = ClipSize(FRAMES, *TRAINED_CELLS)
    for precision, footprint in footprints.items():
        for place in PLACES:
            whole, cut = (
                predict(footprint, clip, CogVideoXPlan(place, coding_tiles=tiles)) for tiles in ((1, 1), (2, 2))
            )
            cells = [*((whole, name) for name in (ENCODE, SAMPLE, DECODE)), (cut, DECODE)]
            told = " | ".join(format_size(made.of(name) + made.margin) for made, name in cells)
            lines.append(f"| {precision}, {place} | {told} |")
    lines += ["", "| card | weights | " + " | ".join(INPUTS) + " |", "|---|---|" + "---|" * len(INPUTS)]
    for card in CARDS_GB:
        for precision, footprint in footprints.items():
            plans_told = [_plan(footprint, name, size, card) for name, size in INPUTS.items()]
            lines.append(f"| {card} GB | {precision} | " + " | ".join(plans_told) + " |")
    return "\n".join(lines)


def _plan(footprint: CogVideoXFootprint, name: str, size: tuple[int, int], card: int) -> str:
    made = replace(footprint, scale=int(name[-1]))
    clip = ClipSize(SEEN, *size)
    found = choose(made, [(32, clip)], made.candidates(clip, PlanLimits(tile_overlap=8)), card * GB)
    if found is None:
        return "does not fit"
    words: list[str] = [found.plan.place]
    for kind, (rows, columns) in (("tiles", found.plan.tiles), ("coding tiles", found.plan.coding_tiles)):
        if rows * columns > 1:
            words.append(f"{columns}x{rows} {kind}")
    return f"{', '.join(words)}: {format_size(found.prediction.peak)}"


CALLS: dict[str, Callable[[argparse.Namespace], str]] = {
    "count": lambda given: count(given.settings),
    "plans": lambda given: plans(),
}


def main(arguments: list[str] | None = None) -> int:
    """Compare, tell the plans, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=list(CALLS), default=list(CALLS))
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    given = parser.parse_args(arguments)
    text = "\n\n".join(CALLS[name](given) for name in given.only)
    print(text)
    if given.write is not None:
        replace_marked(given.write, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
