"""Hold the prediction of memory for the published STAR against counted bytes, and tell plans for typical cards.

    python -m benchmarks.memory.star_memory [--settings 30] [--largest-width 96] [--write docs/models.md]

Needs no GPU: the bytes of all tensors alive are counted while networks with random weights run on the CPU in float32,
over random sizes. The table of plans is the prediction for the published size in fp16; on a GPU, benchmarks/star_gpu.py
measures it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.marked import replace_marked
from starvsr.families.star_i2vgen.footprint.forecast import StarFootprint, streamed_bytes
from starvsr.families.star_i2vgen.footprint.layout import layout_of
from starvsr.families.star_i2vgen.footprint.network import Call, call_bytes
from starvsr.families.star_i2vgen.footprint.plan import AT_ONCE, StarPlan
from starvsr.families.star_i2vgen.footprint.vae import Coding, decode_bytes, encode_bytes
from starvsr.families.star_i2vgen.spec import STAR_LIGHT
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae import temporal as temporal_vae
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.offload.footprint import ClipSize, PlanLimits, predict
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.search import Candidate, choose
from starvsr.offload.trace import LiveBytes
from starvsr.padding import minimal_padding
from starvsr.quantities import format_size

GB = 2**30
CARDS_GB = (4, 6, 8, 12, 16, 24, 48, 80)
INPUTS = {"426x240": (426, 240), "480x270": (480, 270), "960x540": (960, 540)}
KEPT, SEEN = 24, 32
VAE_VALUES = 97_742_847
BEGIN, END = "<!-- memory plans: begin -->", "<!-- memory plans: end -->"


@dataclass(frozen=True)
class Setting:
    """Sizes of one comparison."""

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    res_blocks: int = 2
    frames: int = 4
    clips: int = 1
    rows: int = 18
    columns: int = 16
    at_once: int = 1 << 62
    chunk: int = 4096
    strip_values: int = 1 << 21
    spatial_values: int = 1 << 24

    @property
    def unet(self) -> StarUNetConfig:
        """The network of this setting."""
        return StarUNetConfig(
            width=self.width,
            multipliers=self.multipliers,
            num_res_blocks=self.res_blocks,
            head_dim=16,
            first_heads=3,
            attn_scales=(1.0, 0.5),
            context_dim=24,
            temporal_stages=(4,) * len(self.multipliers),
            dropout=0.0,
        )

    @property
    def vae(self) -> TemporalVaeConfig:
        """The autoencoder of this setting."""
        return TemporalVaeConfig(channels=(self.width, 2 * self.width, 2 * self.width), layers_per_block=2)


@dataclass(frozen=True)
class Told:
    """Bytes counted, and predicted bytes as a share of them."""

    network_bytes: int
    network_ratio: float
    decode_bytes: int
    decode_ratio: float
    encode_bytes: int
    encode_ratio: float


def main(arguments: list[str] | None = None) -> None:
    """Compare, tell the plans, write."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    chance = random.Random(options.seed)
    results = []
    for _ in range(options.settings):
        setting = random_setting(chance, options.largest_width)
        told = measure(setting)
        results.append((setting, told))
        print(
            f"width {setting.width}, {setting.frames} frames of {setting.rows}x{setting.columns}: predicted "
            f"over counted {told.network_ratio:.3f} network, {told.decode_ratio:.3f} decoder, "
            f"{told.encode_ratio:.3f} encoder",
            flush=True,
        )
    worst = {
        name: max((getattr(told, f"{name}_ratio") for _, told in results), key=lambda ratio: abs(ratio - 1))
        for name in ("network", "decode", "encode")
    }
    table = plan_table()
    print(table, place_table(), sep="\n\n")
    options.out.mkdir(parents=True, exist_ok=True)
    records = [{"setting": asdict(setting), **asdict(told)} for setting, told in results]
    (options.out / "star_memory.json").write_text(json.dumps({"worst": worst, "settings": records}, indent=1) + "\n")
    if options.write:
        text = f"{table}\n\n{place_table()}\n\n{summary(len(results), worst)}"
        replace_marked(options.write, BEGIN, END, text)


def summary(count: int, worst: dict[str, float]) -> str:
    """Say how far prediction and count were apart."""
    shares = ", ".join(f"{name} {100 * (ratio - 1):+.1f} %" for name, ratio in worst.items())
    return (
        f"Over {count} random settings of small and medium networks on a CPU the prediction of the largest number of "
        f"bytes alive was off by at most: {shares} (`python -m benchmarks.memory.star_memory --settings {count}`)."
    )


def random_setting(chance: random.Random, largest_width: int = 128) -> Setting:
    """Draw sizes; half of them are worked on in pieces."""
    pieces = chance.random() < 0.5
    return Setting(
        width=chance.choice([width for width in (32, 64, 96, 128) if width <= max(32, largest_width)]),
        multipliers=chance.choice([(1, 2), (1, 2, 4), (1, 2, 2)]),
        res_blocks=chance.choice([1, 2]),
        frames=chance.randint(1, 7),
        clips=chance.choice([1, 1, 2]),
        rows=chance.choice([10, 18, 26, 34]),
        columns=chance.choice([8, 16, 24, 40]),
        at_once=chance.choice([20_000, 100_000, 400_000]) if pieces else 1 << 62,
        chunk=chance.choice([100, 1000]) if pieces else 4096,
        strip_values=chance.choice([20_000, 80_000]) if pieces else 1 << 21,
        spatial_values=chance.choice([40_000, 160_000]) if pieces else 1 << 24,
    )


def measure(setting: Setting) -> Told:
    """Count the bytes alive in one call of the network, one decoding and one encoding; compare."""
    generator = torch.Generator().manual_seed(0)
    network = StarUNet(setting.unet).eval().requires_grad_(False)
    network.budget.max_elements, network.budget.max_tokens = setting.at_once, setting.chunk
    shape = (setting.clips, 4, setting.frames, setting.rows, setting.columns)
    x, hint = torch.randn(2, *shape, generator=generator)
    context, t = torch.randn(setting.clips, 7, 24, generator=generator), torch.full((setting.clips,), 500)
    with torch.no_grad(), LiveBytes([*network.parameters(), x, hint, context, t]) as live:
        network(x, t, context, hint)
    call = Call(setting.frames, setting.rows, setting.columns, setting.clips, 4, setting.at_once, setting.chunk)
    predicted = call_bytes(layout_of(setting.unet), call).peak
    del network
    vae = TemporalVae(setting.vae).eval().requires_grad_(False)
    rows, columns = setting.rows // 2, setting.columns // 2
    latents = torch.randn(setting.frames, 4, rows, columns, generator=generator)
    frame = torch.randn(1, 3, rows * setting.vae.factor, columns * setting.vae.factor, generator=generator)
    coding = Coding(setting.frames, rows, columns, 4, False, setting.strip_values, setting.spatial_values)
    with torch.no_grad(), strips(setting):
        with LiveBytes([*vae.parameters(), latents]) as decoding:
            vae.decode(latents)
        with LiveBytes([*vae.parameters(), frame]) as encoding:
            vae.moments(frame)
    return Told(
        live.peak,
        predicted / live.peak,
        decoding.peak,
        decode_bytes(setting.vae, coding).peak / decoding.peak,
        encoding.peak,
        encode_bytes(setting.vae, coding).peak / encoding.peak,
    )


@contextmanager
def strips(setting: Setting) -> Iterator[None]:
    """Let the autoencoder work in the strips of a setting."""
    before = temporal_vae.STRIP_VALUES, temporal_vae.SPATIAL_VALUES
    temporal_vae.STRIP_VALUES, temporal_vae.SPATIAL_VALUES = setting.strip_values, setting.spatial_values
    try:
        yield
    finally:
        temporal_vae.STRIP_VALUES, temporal_vae.SPATIAL_VALUES = before


def published_sizes(weight_item: int = 2) -> StarFootprint:
    """Return the published model's sizes on a GPU: fp16 maps, weights of ``weight_item`` bytes a number."""
    unet = STAR_LIGHT.unet
    layout = layout_of(unet)
    convolutions = [9 * part.cin * part.cout for part in layout.modules() if part.kind == "res"]
    unpacked = 2 * max(convolutions) if weight_item == 1 else 0  # the largest weight, multiplied out
    return StarFootprint(
        unet,
        TemporalVaeConfig(),
        weight_item * layout.num_parameters + unpacked,
        streamed_bytes(unet, weight_item) + unpacked,
        4 * VAE_VALUES,
    )


def plan_for(model: StarFootprint, width: int, height: int, budget: int) -> Candidate[StarPlan] | None:
    """Return the plan for frames of ``width`` x ``height`` enlarged four times, in segments of the usual length."""
    padding = minimal_padding(4 * height, 4 * width)
    rows, columns = (side // 8 for side in padding.padded_size(4 * height, 4 * width))
    clip = ClipSize(SEEN, rows, columns)
    return choose(model, [(KEPT, clip)], model.candidates(clip, PlanLimits()), budget)


def plan_table() -> str:
    """Return the plans for typical cards as a table."""
    lines = [
        "| card | weights | " + " | ".join(f"{name} x4" for name in INPUTS) + " |",
        "|---|---|" + "---|" * len(INPUTS),
    ]
    for card in CARDS_GB:
        for name, item in (("fp16", 2), ("int8", 1)):
            cells = [_cell(plan_for(published_sizes(item), *size, card * GB)) for size in INPUTS.values()]
            lines.append(f"| {card} GB | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def place_table() -> str:
    """Return the peaks of the first input by where the weights live, as a table."""
    name, (width, height) = next(iter(INPUTS.items()))
    padding = minimal_padding(4 * height, 4 * width)
    rows, columns = (side // 8 for side in padding.padded_size(4 * height, 4 * width))
    lines = [
        f"| {name} x4, segments of {SEEN} frames | sampling | decoding | decoding in 2 tiles |",
        "|---|---|---|---|",
    ]
    for weights, item in (("fp16", 2), ("int8", 1)):
        model, clip = published_sizes(item), ClipSize(SEEN, rows, columns)
        for place in PLACES:
            whole, cut = (
                predict(model, clip, StarPlan(place, coding_tiles=tiles, at_once=AT_ONCE["cuda"][0]))
                for tiles in ((1, 1), (1, 2))
            )
            cells = [whole.of("sample"), whole.of("decode"), cut.of("decode")]
            told = " | ".join(format_size(size + whole.margin) for size in cells)
            lines.append(f"| {weights}, {place} | {told} |")
    return "\n".join(lines)


def _cell(choice: Candidate[StarPlan] | None) -> str:
    if choice is None:
        return "does not fit"
    plan = choice.plan
    words: list[str] = [plan.place]
    for name, (rows, columns) in (("tiles", plan.tiles), ("coding tiles", plan.coding_tiles)):
        if rows * columns > 1:
            words.append(f"{columns}x{rows} {name}")
    return f"{', '.join(words)}: {format_size(choice.prediction.peak)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--settings", type=int, default=30)
    parser.add_argument("--largest-width", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, help="Markdown file whose table is replaced")
    parser.add_argument("--out", type=Path, default=Path("results/star_memory"))
    return parser


if __name__ == "__main__":
    main()
