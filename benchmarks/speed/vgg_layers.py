"""What the convolutions of the VGG distance take of one processor, layer by layer: the floor of the metric's time.

    python -m benchmarks.speed.vgg_layers [--size 1280 720] [--dtype bfloat16] [--repeats 8]

Each layer is run alone on strips of rows as the metric cuts them, random weights. The least of several runs counts:
the processor's matrix unit and caches are shared with what else the machine does, which the mean would measure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from torch import nn

from starvsr.models.relu_convolution import ReluConvolution
from starvsr.models.vgg16 import VGG16_WIDTHS
from starvsr.models.vgg16_distance import STRIP_ELEMENTS

PICTURES = 2
"""Of a pair: result and ground truth."""


def least_seconds(layer: ReluConvolution, picture: torch.Tensor, repeats: int) -> float:
    """Return the least processor seconds of a call."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        layer(picture)
        found.append(time.process_time() - began)
    return min(found)


@torch.inference_mode()
def table(width: int, height: int, dtype: torch.dtype, repeats: int) -> list[str]:
    """Return a Markdown table: a row for each layer, and the sum for a pair of frames."""
    lines = ["| channels | map | TFLOP/s | seconds a pair |", "|---|---|---|---|"]
    total = work = 0.0
    channels = 3
    for block in VGG16_WIDTHS:
        for wanted in block:
            layer = ReluConvolution(nn.Conv2d(channels, wanted, 3, padding=1), dtype)
            rows = min(height, max(12, STRIP_ELEMENTS["cpu"] // (block[-1] * width)))
            picture = torch.randn(1, channels, rows, width).to(dtype).contiguous(memory_format=torch.channels_last)
            seconds = least_seconds(layer, picture, repeats)
            flop = 2 * 9 * channels * wanted * rows * width
            pair = PICTURES * height / rows * seconds
            total, work = total + pair, work + PICTURES * height / rows * flop
            lines.append(f"| {channels} to {wanted} | {width}x{height} | {flop / seconds / 1e12:.2f} | {pair:.2f} |")
            print(lines[-1], flush=True)
            channels = wanted
        width, height = -(-width // 2), -(-height // 2)
    lines.append(f"| all | | {work / total / 1e12:.2f} | {total:.2f} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=8)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    width, height = given.size
    print("\n".join(table(width, height, getattr(torch, given.dtype), given.repeats)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
