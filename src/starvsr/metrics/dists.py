"""DISTS: structure and texture similarity in the features of VGG16.

Source: Ding et al. 2020 (arXiv 2004.07728).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, FrameSet, Metric
from starvsr.models.imagenet import Trunk, load_trunk, vgg16
from starvsr.models.weights.metric_files import find_metric_file

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_C1 = _C2 = 1e-6
_LEAST_PX = 16


class L2Pool(nn.Module):
    """Root of the squares' mean under a Hanning window of 3x3, at every second pixel."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", (taps[:, None] * taps).expand(channels, 1, 3, 3).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, ceil(H / 2), ceil(W / 2)]."""
        return (F.conv2d(x.square(), self.kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class Dists(nn.Module):
    """The distance of two sets of pictures.

    Args:
        trunk: VGG16 with `L2Pool`.
        alpha: weights of the means (texture) of the picture's channels and all features, [3 + 64 + ... + 512].
        beta: weights of the correlations (structure), as many.
    """

    mean: Tensor
    std: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, trunk: Trunk, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        total = alpha.sum() + beta.sum()
        buffers: dict[str, Any] = {"alpha": alpha.flatten() / total, "beta": beta.flatten() / total}
        buffers |= {name: torch.tensor(v).view(1, 3, 1, 1) for name, v in (("mean", _MEAN), ("std", _STD))}
        for name, values in buffers.items():
            self.register_buffer(name, values.float(), persistent=False)

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        """Return the distance [N] of pictures [N, 3, H, W], RGB in [0, 1]."""
        sets = [[x, *self.trunk((x - self.mean) / self.std)] for x in (pictures, others)]
        sizes = [layer.shape[1] for layer in sets[0]]
        similarity: Tensor | float = 0.0
        for x, y, alpha, beta in zip(*sets, self.alpha.split(sizes), self.beta.split(sizes), strict=True):
            mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
            var_x, var_y = (v.var((2, 3), unbiased=False) for v in (x, y))
            covariance = (x * y).mean((2, 3)) - mean_x * mean_y
            texture = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
            structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
            similarity = similarity + (alpha * texture + beta * structure).sum(1)
        return 1 - torch.as_tensor(similarity)


def load_dists(device: str = "cpu") -> Dists:
    """Load DISTS.

    Raises:
        MissingWeightsError: a file is not on this machine.
        WeightsError: a file is not what it should be.
    """
    weights, trunk = (find_metric_file(name, "DISTS") for name in _FILES)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    return Dists(load_trunk(vgg16(L2Pool), trunk), state["alpha"], state["beta"]).to(device).eval()


def distances(network: Dists, frames: Iterator[FrameSet]) -> Iterator[float]:
    """Yield DISTS of each frame.

    Raises:
        OptionError: a side is too small.
    """
    for frame in frames:
        height, width = frame.hq.shape[:2]
        if min(height, width) < _LEAST_PX:
            raise OptionError(f"DISTS needs frames of at least {_LEAST_PX}x{_LEAST_PX} px, not {width}x{height}")
        with torch.inference_mode():
            value = float(network(*(_picture(one, network.mean.device) for one in (frame.hq, frame.gt))))
        yield value


def _picture(frame: ByteArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1)[None].float() / 255


@lru_cache(maxsize=2)
def _loaded(device: str) -> Dists:
    return load_dists(device)


_FILES = ("dists-weights", "vgg16-imagenet")


def _require() -> None:
    for name in _FILES:
        find_metric_file(name, "DISTS")


def _compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    yield from distances(_loaded(device), frames)


DISTS = Metric(
    name="dists",
    unit="",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol="VGG16 with L2 pooling, RGB in [0, 1], frames not resized",
    compute=_compute,
    weights="torchvision vgg16-397923af, weights of the channels f5e65c96",
    digits=4,
    requires=_require,
    of_single_frames=True,
)
