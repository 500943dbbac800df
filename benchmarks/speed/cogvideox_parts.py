"""What the networks of STAR on CogVideoX cost at the published width, beside diffusers' own classes.

    python -m benchmarks.speed.cogvideox_parts [--only block encode decode] [--frames 3] [--cells 20x30] [--rounds 1]
            [--write docs/models.md]
    python -m benchmarks.speed.cogvideox_parts --count --only block encode decode --frames 7 --cells 60x90

Weights are random: time and memory do not depend on them. ``block`` is one block of the 5B with its embeddings and
output layer, without the two gates in diffusers; ``encode`` and ``decode`` are the VAE, whose frames go through one by
one here. Both sides run in this process, in turns; the least processor time counts.
Bytes are those of all tensors alive at once beside weights and inputs, counted on the meta device. The largest
difference of the results is told where both compute the same. Without options one block sees few tokens, so that it
ends within a minute on one core; the table tells how many.

``--count`` computes nothing: it counts the bytes on the meta device, in bfloat16, with attention as a fused kernel has.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.marked import replace_marked
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.lean_vae import decode_piece, encode
from starvsr.models.cogvideox.positions import rotary_table
from starvsr.models.cogvideox.transformer import build_transformer
from starvsr.models.int8 import weight_bytes
from starvsr.offload.trace import FusedAttention, LiveBytes
from starvsr.quantities import parse_box

VAE = {"block_out_channels": (128, 256, 256, 512), "latent_channels": 16, "layers_per_block": 3}
TOKENS = 226
GIB = 2**30
BEGIN, END = "<!-- cogvideox parts: begin -->", "<!-- cogvideox parts: end -->"


@dataclass(frozen=True)
class Pair:
    """One call, here and in diffusers.

    Args:
        network: Whose weights do not count.
        given: Inputs, which do not count either.
        ours: The call of this package.
        theirs: That of diffusers.
        is_same: Whether both give the same.
    """

    network: nn.Module
    given: tuple[Tensor, ...]
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    is_same: bool


def block(frames: int, cells: tuple[int, int], dtype: torch.dtype, device: str) -> Pair:
    """Build a transformer of the 5B's width with one block; diffusers' has the same layers."""
    config = replace(TransformerConfig.published_5b(), num_layers=1)
    network = build_transformer(config, device).to(dtype)
    library: Any = import_module("diffusers")
    with torch.device(device):
        stock = library.CogVideoXTransformer3DModel(
            **{key: value for key, value in config.to_json().items() if not key.startswith("_")}
        )
    nn.Module.to(stock, dtype)
    stock.eval()
    latents = torch.randn(1, frames, config.in_channels, *cells, device=device, dtype=dtype)
    text = torch.randn(1, TOKENS, config.text_embed_dim, device=device, dtype=dtype)
    timestep = torch.full((1,), 500.0, device=device)
    rotary = rotary_table(config, (frames, cells[0] // 2, cells[1] // 2), torch.device(device))
    both = nn.ModuleList([network, stock])
    return Pair(
        both,
        (latents, text, timestep, *rotary),
        lambda: network(latents, timestep, text),
        lambda: stock(latents, text, timestep, image_rotary_emb=rotary, return_dict=False)[0],
        is_same=False,
    )


def _vae(dtype: torch.dtype, device: str) -> Any:
    library: Any = import_module("diffusers")
    with torch.device(device):
        vae = library.AutoencoderKLCogVideoX(**VAE)
    nn.Module.to(vae, dtype)
    return vae.eval()


def encoding(frames: int, cells: tuple[int, int], dtype: torch.dtype, device: str) -> Pair:
    """Build the VAE; its encoder sees a clip of so many latent frames in one pass."""
    vae, (height, width) = _vae(dtype, device), cells
    clip = torch.rand(1, 3, 4 * (frames - 1) + 1, 8 * height, 8 * width, device=device, dtype=dtype)
    return Pair(vae, (clip,), lambda: encode(vae.encoder, clip), lambda: vae.encoder(clip)[0], is_same=True)


def decoding(frames: int, cells: tuple[int, int], dtype: torch.dtype, device: str) -> Pair:
    """Build the VAE; its decoder sees the first piece of three latent frames, or what there is of it."""
    vae = _vae(dtype, device)
    latents = torch.randn(1, 16, min(3, frames), *cells, device=device, dtype=dtype)
    return Pair(
        vae, (latents,), lambda: decode_piece(vae.decoder, latents, {}), lambda: vae.decoder(latents)[0], is_same=True
    )


CALLS = {"block": block, "encode": encoding, "decode": decoding}


def peak_bytes(pair: Pair, call: Callable[[], Any]) -> int:
    """Return the bytes alive at once in a call."""
    with torch.no_grad(), FusedAttention(), LiveBytes([*pair.network.state_dict().values(), *pair.given]) as live:
        call()
    return live.peak


def counted(name: str, frames: int, cells: tuple[int, int], dtype: torch.dtype) -> tuple[float, float]:
    """Return the GiB of a call, here and in diffusers."""
    pair = CALLS[name](frames, cells, dtype, "meta")
    ours, theirs = (peak_bytes(pair, call) / GIB for call in (pair.ours, pair.theirs))
    return ours, theirs


def size_of(frames: int, cells: tuple[int, int]) -> str:
    """Describe the size of the calls."""
    rows, columns = cells
    tokens = frames * (rows // 2) * (columns // 2) + TOKENS
    return f"{frames} latent frames of {columns}x{rows} cells, {tokens} tokens of a block"


def count(names: list[str], frames: int, cells: tuple[int, int]) -> str:
    """Return the bytes of each call as a table."""
    lines = [f"{size_of(frames, cells)}; bfloat16", "", "| call | this package | diffusers |", "|---|---|---|"]
    for name in names:
        ours, theirs = counted(name, frames, cells, torch.bfloat16)
        lines.append(f"| {name} | {ours:.2f} GiB | {theirs:.2f} GiB |")
    return "\n".join(lines)


def measure(names: list[str], frames: int, cells: tuple[int, int], rounds: int) -> str:
    """Return the processor time and the bytes of each call as a table, float32 on the CPU."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    lines = [
        f"{size_of(frames, cells)}; {platform.machine()}, {threads} thread{'s' * (threads > 1)}, float32",
        "",
        "| call | this package | diffusers | weights | largest difference |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        gib = counted(name, frames, cells, torch.float32)
        pair = CALLS[name](frames, cells, torch.float32, "cpu")
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        made: dict[str, Tensor] = {}
        with torch.inference_mode():
            for _ in range(rounds):
                for side, call in (("ours", pair.ours), ("theirs", pair.theirs)):
                    began = time.process_time()
                    made[side] = call()
                    seconds[side].append(time.process_time() - began)
        apart = f"{(made['ours'] - made['theirs']).abs().max().item():.1e}" if pair.is_same else "-"
        sides = [f"{min(times):.2f} s, {held:.2f} GiB" for times, held in zip(seconds.values(), gib, strict=True)]
        weights = weight_bytes(pair.network) / GIB / (1 if pair.is_same else 2)  # both have weights of their own
        lines.append(f"| {name} | {' | '.join(sides)} | {weights:.2f} GiB | {apart} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure or count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CALLS), default=["block"])
    parser.add_argument("--frames", type=int, default=3, help="latent frames")
    parser.add_argument("--cells", type=parse_box, default=(20, 30), help="rows and columns of latent cells")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--count", action="store_true", help="count bytes on the meta device instead")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    if options.count:
        table = count(options.only, options.frames, options.cells)
    else:
        table = measure(options.only, options.frames, options.cells, options.rounds)
    print(table)
    if options.write is not None:
        replace_marked(options.write, BEGIN, END, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
