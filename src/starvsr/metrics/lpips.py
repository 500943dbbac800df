"""LPIPS v0.1 and tLPIPS: perceptual distance in the features of AlexNet or VGG16, with learned weights of the channels.

Source: Zhang et al. 2018 (arXiv 1801.03924); tLPIPS as in StableVSR (arXiv 2311.15908).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, FrameSet, Metric
from starvsr.models.imagenet import Trunk, alexnet, load_trunk, vgg16
from starvsr.models.weights.metric_files import find_metric_file

Net = Literal["alex", "vgg"]
_TRUNKS = {"alex": alexnet, "vgg": vgg16}
_LEAST_PX = {"alex": 32, "vgg": 16}
_EPS = 1e-10
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """The distance of two sets of pictures.

    Args:
        trunk: whose features are compared.
        heads: non-negative weights of the channels of each layer, [C]; None weights all with 1.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Trunk, heads: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        weights = [torch.ones(size) for size in trunk.channels] if heads is None else heads
        for index, weight in enumerate(weights):
            self.register_buffer(f"head{index}", weight.reshape(1, -1, 1, 1).float(), persistent=False)
        for name, values in (("shift", _SHIFT), ("scale", _SCALE)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return what is compared, of RGB pictures [N, 3, H, W] in [-1, 1]: features of unit length over channels."""
        found = self.trunk((pictures - self.shift) / self.scale)
        return [one / (one.square().sum(1, keepdim=True).sqrt() + _EPS) for one in found]

    def between(self, features: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Return the distance [N] of features."""
        layers = [
            ((a - b).square() * self.get_buffer(f"head{index}")).sum(1).mean((1, 2))
            for index, (a, b) in enumerate(zip(features, others, strict=True))
        ]
        return torch.stack(layers).sum(0)

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        """Return the distance [N] of pictures [N, 3, H, W], RGB in [-1, 1]."""
        return self.between(self.features(pictures), self.features(others))


def load_lpips(net: Net = "alex", device: str = "cpu") -> Lpips:
    """Load LPIPS v0.1: torchvision's weights of the trunk, and the learned weights of the channels.

    Raises:
        MissingWeightsError: a file is not on this machine.
        WeightsError: a file is not what it should be.
    """
    heads, trunk = (find_metric_file(name, f"LPIPS ({net})") for name in _files(net))
    state = torch.load(heads, map_location="cpu", weights_only=True)
    layers = [state[f"lin{index}.model.1.weight"] for index in range(len(state))]
    return Lpips(load_trunk(_TRUNKS[net](), trunk), layers).to(device).eval()


def lpips(gt: ByteArray, hq: ByteArray, *, network: Lpips | None = None, crop_px: int = 0) -> npt.NDArray[np.float64]:
    """Compute LPIPS of each frame.

    Args:
        gt: ground truth, uint8 [T, H, W, 3] RGB.
        hq: result, same shape.
        network: None loads AlexNet's.
        crop_px: pixels cut from each border first.

    Returns:
        float64 [T], 0 for equal frames; smaller is nearer.

    Raises:
        OptionError: shapes differ, or a side is too small.
        MissingWeightsError: as :func:`load_lpips`.
    """
    if gt.shape != hq.shape or gt.ndim != 4 or gt.shape[-1] != 3:
        raise OptionError(f"gt {gt.shape} and hq {hq.shape} must both be [T, H, W, 3] of one size")
    network = network or _loaded("alex", "cpu")
    inner = np.s_[crop_px : gt.shape[1] - crop_px, crop_px : gt.shape[2] - crop_px]
    values = []
    with torch.inference_mode():
        for a, b in zip(gt, hq, strict=True):
            first, second = _features(network, b[inner], a[inner])
            values.append(float(network.between(first, second)))
    return np.array(values, np.float64)


def _features(network: Lpips, *frames: ByteArray) -> list[list[Tensor]]:
    """Return the features of each frame, all in one pass."""
    height, width = frames[0].shape[:2]
    least = _LEAST_PX["alex" if network.trunk.channels[1] == 192 else "vgg"]
    if min(height, width) < least:
        raise OptionError(f"LPIPS needs frames of at least {least}x{least} px after the crop, not {width}x{height}")
    batch = torch.from_numpy(np.stack(frames)).to(network.shift.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    features = network.features(batch)
    return [[layer[index : index + 1] for layer in features] for index in range(len(frames))]


@lru_cache(maxsize=4)
def _loaded(net: Net, device: str) -> Lpips:
    return load_lpips(net, device)


def _files(net: Net) -> tuple[str, str]:
    return f"lpips-{net}-heads", {"alex": "alexnet-imagenet", "vgg": "vgg16-imagenet"}[net]


def _require(net: Net) -> None:
    for name in _files(net):
        find_metric_file(name, f"LPIPS ({net})")


def frame_distances(network: Lpips, frames: Iterator[FrameSet]) -> Iterator[float]:
    """Yield LPIPS of each frame."""
    for frame in frames:
        with torch.inference_mode():
            hq, gt = _features(network, frame.hq, frame.gt)
            value = float(network.between(hq, gt))
        yield value


def change_distances(network: Lpips, frames: Iterator[FrameSet]) -> Iterator[float]:
    """Yield 1000 times tLPIPS of each frame: how its distance to the one before differs from the ground truth's."""
    before: list[list[Tensor]] | None = None
    for frame in frames:
        with torch.inference_mode():
            now = _features(network, frame.hq, frame.gt)
            steps = [float(network.between(a, b)) for a, b in zip(now, before or now, strict=True)]
        yield float("nan") if before is None else 1000 * abs(steps[1] - steps[0])
        before = now


def _metric(net: Net) -> Metric:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        yield from frame_distances(_loaded(net, device), frames)

    return Metric(
        name=f"lpips_{net}",
        unit="",
        higher_is_better=False,
        needs=frozenset({"gt"}),
        protocol=f"LPIPS v0.1, {'AlexNet' if net == 'alex' else 'VGG16'}, RGB in [-1, 1], frames not resized",
        compute=compute,
        weights=_WEIGHTS[net],
        digits=4,
        requires=lambda: _require(net),
        of_single_frames=True,
    )


_WEIGHTS: dict[Net, str] = {
    "alex": "torchvision alexnet-owt-7be5be79, heads v0.1 alex df73285e",
    "vgg": "torchvision vgg16-397923af, heads v0.1 vgg a78928a0",
}

LPIPS_ALEX = _metric("alex")
LPIPS_VGG = _metric("vgg")


def _compute_change(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    yield from change_distances(_loaded("alex", device), frames)


TLPIPS = Metric(
    name="tlpips_x1e3",
    unit="1e-3",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol="|LPIPS(gt, gt before) - LPIPS(hq, hq before)|, LPIPS v0.1 of AlexNet, mean over pairs of frames",
    compute=_compute_change,
    weights=_WEIGHTS["alex"],
    requires=lambda: _require("alex"),
)
