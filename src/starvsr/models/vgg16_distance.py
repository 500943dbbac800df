"""The VGG feature distance of large frames in little memory: block after block of layers, in strips of rows.

What lies between two layers of a block stays in the processor's cache; only what the next block begins with is held
whole. A strip is read with the rows around it that its convolutions see, so the result is that of whole frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.models.vgg16 import Vgg16, convolutions, feature_distance
from starvsr.models.workers import Workers, workers

STRIP_ELEMENTS = {"cpu": 1 << 22, "other": 1 << 26}
"""Elements of the widest map of a strip, about."""


def layer_weights(network: Vgg16, dtype: torch.dtype) -> list[list[tuple[Tensor, Tensor]]]:
    """Return kernels and biases, block by block, as :func:`frame_distances` takes them."""
    form = torch.channels_last
    found: list[list[tuple[Tensor, Tensor]]] = []
    for block in network.blocks:
        found.append([])
        for layer in convolutions(block):
            assert layer.bias is not None
            found[-1].append((layer.weight.to(dtype).contiguous(memory_format=form), layer.bias.to(dtype)))
    return found


@torch.inference_mode()
def frame_distances(
    weights: Sequence[Sequence[tuple[Tensor, Tensor]]], mean: Tensor, frames: Tensor, wanted: Tensor
) -> Tensor:
    """Return the distance of frames, see :func:`starvsr.models.vgg16.feature_distance`.

    Args:
        weights: of :func:`layer_weights`; their type is that of the convolutions, distances are float32.
        mean: of the trunk, BGR.
        frames: RGB in [0, 255], [N, 3, H, W].
        wanted: what they are compared with, of the same shape.

    Returns:
        float64 [N].
    """
    dtype = weights[0][0][0].dtype
    pictures = torch.cat([frames, wanted]).float().flip(1) - mean
    maps = pictures.to(dtype).contiguous(memory_format=torch.channels_last)
    total = torch.zeros(len(frames), dtype=torch.float64, device=frames.device)
    with _exact_convolutions(maps.device), workers(maps.device) as threads:
        for index, block in enumerate(weights):
            maps, distance = _block(block, maps, threads, is_last=index + 1 == len(weights))
            total += distance
    return total


def _block(
    layers: Sequence[tuple[Tensor, Tensor]], maps: Tensor, threads: Workers, *, is_last: bool
) -> tuple[Tensor, Tensor]:
    """Return half of the features of a block, which the next one begins with, and their distance [N], float64."""
    count, _, height, width = maps.shape
    channels = layers[-1][0].shape[0]
    rows = _strip_rows(maps, channels)
    shape = (0, 0) if is_last else (-(-height // 2), -(-width // 2))
    halves = torch.empty((count, channels, *shape), dtype=maps.dtype, device=maps.device)
    halves = halves.contiguous(memory_format=torch.channels_last)
    sums: dict[int, Tensor] = {}

    def compute(start: int) -> None:
        features = _strip(layers, maps, start, min(start + rows, height))
        if not is_last:
            half = F.max_pool2d(features, 2, ceil_mode=True)
            halves[:, :, start // 2 : start // 2 + half.shape[2]] = half
        ours, theirs = features.split(count // 2)
        sums[start] = feature_distance([ours], [theirs]).double() * features.shape[2]

    starts = range(0, height, rows)
    threads.run(partial(compute, start) for start in starts)
    return halves, torch.stack([sums[start] for start in starts]).sum(0) / height


@contextmanager
def _exact_convolutions(device: torch.device) -> Iterator[None]:
    """Keep convolutions of float32 from being computed with the 10 bits of TF32, the habit of cuDNN."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and device.type != "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _strip_rows(maps: Tensor, channels: int) -> int:
    """Return how many rows are worked on at once; even, so that halves of strips are strips of halves."""
    most = STRIP_ELEMENTS["cpu" if maps.device.type == "cpu" else "other"]
    return max(8, most // (len(maps) * channels * maps.shape[3]) // 2 * 2)


def _strip(layers: Sequence[tuple[Tensor, Tensor]], maps: Tensor, start: int, stop: int) -> Tensor:
    """Return the features of a block in rows [start, stop); zeros lie around the frame, rows of it around a strip."""
    height = maps.shape[2]
    low, high = max(0, start - len(layers)), min(height, stop + len(layers))
    x = maps[:, :, low:high]
    for weight, bias in layers:
        above, below = int(low == 0), int(high == height)
        if above or below:
            x = F.pad(x, (0, 0, above, below))
        x = F.relu_(F.conv2d(x, weight, bias, padding=(0, 1)))
        low, high = low + 1 - above, high - 1 + below
    return x[:, :, start - low : stop - low]
