"""Compare ways to compute the same layers of the STAR network: convolutions, memory layout, attention, both prompts.

    python -m benchmarks.published.star_kernels [--device cpu] [--latent 8 26 40] [--compile MODE] [--write
            docs/models.md]

Prints, for each layer, the time of every way in units of the way that is taken. Weights are random. On a CPU time is
that of the process, so a busy machine changes ratios little; on a GPU it is the time between two events.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.marked import replace_marked
from benchmarks.published.star_repairs import randomized
from starvsr.errors import OptionError
from starvsr.families.star_i2vgen.acceleration import ATTENTION, COMPILE, CompiledNetwork, attention_scope
from starvsr.models.norms import group_norm_last
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet

MARKS = ("<!-- star-kernels:begin -->", "<!-- star-kernels:end -->")
CHANNELS, HEAD_DIM, TEXT = 320, 64, 77
Way = Callable[[], Tensor]
Layer = dict[str, Way]
"""Ways to compute a layer by name; the first one is the one that is taken."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    dtype = torch.float32 if options.device == "cpu" else torch.float16
    frames, height, width = options.latent
    features = torch.randn(frames, options.channels, height, width, generator=torch.Generator().manual_seed(0))
    features = features.to(options.device, dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        layers = {
            "temporal convolution (3,1,1)": temporal_convolutions(features),
            "3x3 convolution": spatial_convolutions(features),
            "GroupNorm of a frame": norms(features),
            "self-attention of a frame": attentions(features),
            "guided evaluation": guided_evaluations(features, options.width, options.compile),
        }
        told = {name: compare(ways, options.rounds) for name, ways in layers.items()}
    text = table(told, options)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "star_kernels.json").write_text(json.dumps(told, indent=1) + "\n")
    if options.write:
        replace_marked(options.write, *MARKS, text)


def temporal_convolutions(features: Tensor) -> Layer:
    """A (3,1,1) convolution of a clip as a 2-D one over time and merged pixels, a 3-D one, and three products."""
    frames, channels, height, width = features.shape
    clip = features.unflatten(0, (1, frames)).transpose(1, 2)  # [1, C, T, h, w]
    weight = _random(features, channels, channels, 3, 1, 1)
    before, now, after = (weight[:, :, tap, 0, 0].contiguous() for tap in range(3))

    def products() -> Tensor:
        rows = clip.permute(0, 2, 3, 4, 1).reshape(frames, -1, channels)
        out = F.linear(rows, now)
        out[1:].view(-1, channels).addmm_(rows[:-1].reshape(-1, channels), before.T)
        out[:-1].view(-1, channels).addmm_(rows[1:].reshape(-1, channels), after.T)
        return out.view(1, frames, height, width, channels).permute(0, 4, 1, 2, 3)

    def plane() -> Tensor:
        return F.conv2d(clip.flatten(3), weight[..., 0], padding=(1, 0)).unflatten(3, (height, width))

    return {
        "2-D over time and merged pixels": plane,
        "3-D": lambda: F.conv3d(clip, weight, padding=(1, 0, 0)),
        "three products": products,
    }


def spatial_convolutions(features: Tensor) -> Layer:
    """A 3x3 convolution with maps and weights channels last, or either of them not."""
    weight = _random(features, features.shape[1], features.shape[1], 3, 3)
    last, plain = weight.contiguous(memory_format=torch.channels_last), features.contiguous()
    return {
        "maps and weights channels last": lambda: F.conv2d(features, last, padding=1),
        "weights as in the file": lambda: F.conv2d(features, weight, padding=1),
        "maps and weights channels first": lambda: F.conv2d(plain, weight, padding=1),
    }


def norms(features: Tensor) -> Layer:
    """A GroupNorm by torch's kernel and by ours, which keeps channels last on CUDA too."""
    weight, bias = _random(features, features.shape[1]), _random(features, features.shape[1])
    ways: Layer = {
        "torch": lambda: F.group_norm(features, 32, weight, bias).contiguous(memory_format=torch.channels_last),
        "channels last throughout": lambda: group_norm_last(features, 32, weight, bias, 1e-5),
    }
    return dict(reversed(ways.items())) if features.is_cuda else ways


def attentions(features: Tensor) -> Layer:
    """Self-attention among the pixels of each frame by every kernel that the device has."""
    channels = features.shape[1]
    heads = features.flatten(2).unflatten(1, (channels // HEAD_DIM, HEAD_DIM)).transpose(2, 3).contiguous()
    ways: Layer = {}
    for word in ATTENTION:
        try:
            scope = attention_scope(word, features.device, features.dtype, HEAD_DIM)
        except OptionError:
            continue

        def way(scope: Any = scope) -> Tensor:
            with scope():
                return F.scaled_dot_product_attention(heads, heads, heads)

        ways[f"--attention {word}"] = way
    return ways


def guided_evaluations(features: Tensor, channels: int, compile: str | None) -> Layer:
    """Both prompts read by a narrow STAR in two calls, or in one."""
    frames, _, height, width = features.shape
    config = StarUNetConfig(width=channels, head_dim=channels // 2, first_heads=2, context_dim=64)
    network = randomized(StarUNet(config)).requires_grad_(False).to(features.device, features.dtype)
    height, width = max(2, height // 8 * 8 - 6), max(8, width // 8 * 8)
    x, hint = _random(features, 2, 1, 4, frames, height, width)
    texts, t = _random(features, 2, TEXT, 64), torch.tensor([500], device=features.device)
    ways: Layer = {
        "--guidance-pair apart": lambda: torch.cat([network(x, t, text[None], hint) for text in texts]),
        "--guidance-pair together": lambda: network(x, t, texts, hint),
    }
    if compile is not None:
        other = randomized(StarUNet(config)).requires_grad_(False).to(features.device, features.dtype)
        compiled = CompiledNetwork(other, compile)
        ways[f"apart, --compile {compile}"] = lambda: torch.cat([compiled(x, t, text[None], hint) for text in texts])
    return ways


def compare(ways: Layer, rounds: int) -> dict[str, float]:
    """Return the least seconds of each way, the ways taking turns; the first round warms up.

    Raises:
        SystemExit: the ways do not agree.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    wanted = next(iter(ways.values()))().float()
    for name, way in ways.items():
        error = float((way().float() - wanted).abs().max() / wanted.abs().max())
        if not error < 2e-2:
            raise SystemExit(f"{name} differs by {error:.1e} of the largest value: please report it")
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(_time(way, wanted.device))
    return {name: min(values) for name, values in seconds.items()}


def _time(way: Way, device: torch.device) -> float:
    if device.type != "cuda":
        began = time.process_time()
        way()
        return time.process_time() - began
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    way()
    stop.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(stop)) / 1e3


def table(told: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """Return the ratios as a table of Markdown."""
    lines = ["| layer | taken | others, in units of its time |", "|---|---|---|"]
    for name, ways in told.items():
        taken, *others = ways
        ratios = "; ".join(f"{other} {ways[other] / ways[taken]:.2f}" for other in others)
        lines.append(f"| {name} | {taken} | {ratios} |")
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, threads: {options.threads}"
    frames, height, width = options.latent
    lines += [
        "",
        f"{device}; {options.channels} channels, latent {frames}x{height}x{width}, torch {torch.__version__}.",
    ]
    return "\n".join(lines)


def _random(like: Tensor, *shape: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return values.mul_(shape[1] ** -0.5 if len(shape) > 3 else 1.0).to(like.device, like.dtype)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--latent", type=int, nargs=3, default=(8, 26, 40), metavar=("T", "H", "W"), help="size")
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--width", type=int, default=64, help="channels of the narrow network that is run as a whole")
    parser.add_argument("--compile", choices=COMPILE, help="also the network compiled in this mode")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/star_kernels"))
    parser.add_argument("--write", type=Path, help="Markdown file to put the table into, between its marks")
    return parser


if __name__ == "__main__":
    main()
