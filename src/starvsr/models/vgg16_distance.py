"""The VGG feature distance of large frames in little memory: block after block of layers, in strips of rows.

What lies between two layers of a block stays in the processor's cache; only what the next block begins with is held
whole. A strip is read with the rows around it that its convolutions see, so the result is that of whole frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.models.relu_convolution import ReluConvolution
from starvsr.models.vgg16 import FEATURE_EPS, Vgg16, convolutions
from starvsr.models.workers import Workers, workers

STRIP_ELEMENTS = {"cpu": 1 << 22, "other": 1 << 26}
"""Elements of the widest map of a strip, about."""

CHUNK_ELEMENTS = {"cpu": 1 << 17, "other": 1 << 26}
"""Elements of a map whose distance is computed at once, about."""

Layers = list[list[ReluConvolution]]


def layers_of(network: Vgg16, dtype: torch.dtype) -> Layers:
    """Return the convolutions of each block, prepared for :func:`frame_distances`."""
    return [[ReluConvolution(layer, dtype) for layer in convolutions(block)] for block in network.blocks]


@torch.inference_mode()
def frame_distances(layers: Layers, mean: Tensor, frames: Tensor, wanted: Tensor) -> Tensor:
    """Return the distance of frames, see :func:`starvsr.models.vgg16.feature_distance`.

    Args:
        layers: of :func:`layers_of`; their type is that of the convolutions, distances are float32.
        mean: of the trunk, BGR.
        frames: RGB in [0, 255], [N, 3, H, W].
        wanted: what they are compared with, of the same shape.

    Returns:
        float64 [N].
    """
    dtype = layers[0][0].dtype

    def pictures(rows: Tensor) -> Tensor:
        return (rows.float().flip(1) - mean).to(dtype).contiguous(memory_format=torch.channels_last)

    total = torch.zeros(len(frames), dtype=torch.float64, device=frames.device)
    maps, prepare = [frames, wanted], pictures
    with exact_convolutions(frames.device), workers(frames.device) as threads:
        for index, block in enumerate(layers):
            maps, distance = _block(block, maps, prepare, threads, is_last=index + 1 == len(layers))
            prepare = _as_they_are
            total += distance
    return total


def _as_they_are(rows: Tensor) -> Tensor:
    return rows


def _block(
    block: Sequence[ReluConvolution],
    maps: Sequence[Tensor],
    prepare: Callable[[Tensor], Tensor],
    threads: Workers,
    *,
    is_last: bool,
) -> tuple[list[Tensor], Tensor]:
    """Compute a block of both clips.

    Args:
        block: its layers.
        maps: of both clips, [N, C, H, W].
        prepare: makes what the first layer gets of rows of them.
        threads: that share the strips.
        is_last: nothing follows.

    Returns:
        Half of the block's features, which the next one begins with, and their distance, float64 [N].
    """
    count, _, height, width = maps[0].shape
    channels = block[-1].out_channels
    rows = _strip_rows(maps[0], channels, len(block))
    shape = (0, 0) if is_last else (-(-height // 2), -(-width // 2))
    halves = [
        torch.empty(
            (count, channels, *shape), dtype=block[0].dtype, device=one.device, memory_format=torch.channels_last
        )
        for one in maps
    ]
    waiting: dict[int, Tensor] = {}
    lock = Lock()
    sums: dict[int, Tensor] = {}

    def compute(start: int, side: int) -> None:
        stop = min(start + rows, height)
        features = _strip(block, maps[side], prepare, start, stop)
        if not is_last:
            halve(features, halves[side][:, :, start // 2 : (stop + 1) // 2])
        with lock:
            other = waiting.pop(start, None)
            if other is None:  # the thread that has the other clip's strip compares them
                waiting[start] = features
                return
        sums[start] = distance_sum(features, other) if side == 0 else distance_sum(other, features)

    starts = range(0, height, rows)
    threads.run(partial(compute, start, side) for start in starts for side in (0, 1))
    return halves, torch.stack([sums[start] for start in starts]).sum(0) / (height * width)


@contextmanager
def exact_convolutions(device: torch.device) -> Iterator[None]:
    """Keep convolutions of float32 from being computed with the 10 bits of TF32, the habit of cuDNN."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and device.type != "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _kind(maps: Tensor) -> str:
    return "cpu" if maps.device.type == "cpu" else "other"


def _strip_rows(maps: Tensor, channels: int, num_layers: int) -> int:
    """Return how many rows are worked on at once.

    They are even, so that halves of strips are strips of halves. A strip has at least twice the rows that are read
    around it; there are two strips or another even number where the frame is high enough, so that two threads end
    together.
    """
    height, width = maps.shape[2:]
    most = STRIP_ELEMENTS[_kind(maps)] // (len(maps) * channels * width)
    wanted = max(4 * num_layers, most)
    strips = -(-height // wanted)
    strips += strips % 2 if height > 4 * num_layers else 0
    rows = -(-height // strips)
    return rows + rows % 2


def _strip(
    block: Sequence[ReluConvolution], maps: Tensor, prepare: Callable[[Tensor], Tensor], start: int, stop: int
) -> Tensor:
    """Return the features of a block in rows [start, stop); zeros lie around the frame, rows of it around a strip."""
    height = maps.shape[2]
    low, high = max(0, start - len(block)), min(height, stop + len(block))
    x = prepare(maps[:, :, low:high])
    for layer in block:
        above, below = int(low == 0), int(high == height)
        x = layer(x, above=above, below=below)
        low, high = low + 1 - above, high - 1 + below
    return x[:, :, start - low : stop - low]


def halve(features: Tensor, into: Tensor) -> None:
    """Write the maxima of 2x2 pixels; an odd row or column at the end is a half of its own."""
    height, width = features.shape[2:]
    if height % 2 or width % 2:
        features = F.pad(features, (0, width % 2, 0, height % 2), mode="replicate")
    rows = torch.maximum(features[:, :, ::2], features[:, :, 1::2])
    torch.maximum(rows[..., ::2], rows[..., 1::2], out=into)


def distance_sum(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the squared distances of features of unit length, summed over positions: float64 [N]."""
    count, channels = ours.shape[:2]
    pairs = [features.permute(0, 2, 3, 1).reshape(count, -1, channels) for features in (ours, theirs)]
    size = max(1, CHUNK_ELEMENTS[_kind(ours)] // (count * channels))
    parts = [_chunk(*chunk) for chunk in zip(*(one.split(size, 1) for one in pairs), strict=True)]
    return torch.stack(parts).sum(0)


def _chunk(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return what some positions add, float64 [N], from features [N, positions, C]."""
    a, b = ours.float(), theirs.float()
    difference = (a * _inverse_length(a)).sub_(b * _inverse_length(b))
    return torch.linalg.vector_norm(difference, dim=2).square().sum(1, dtype=torch.float64)


def _inverse_length(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=2, keepdim=True).square_().add_(FEATURE_EPS).rsqrt_()
