"""A 3x3 convolution with ReLU for inference, in one operation where the processor's library has it.

oneDNN applies the ReLU while a convolution's sums are still in registers and takes kernels that were put into its own
order once, not anew for each call. PyTorch offers both only as operations that its compiler uses. They are therefore
tried on a small picture first; where they are missing, fail or differ, the two plain operations are used.

Wide layers in float32 on a processor go by Winograd's filtering instead (:mod:`starvsr.models.winograd`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.winograd import WinogradConvolution, pays


class ReluConvolution:
    """A convolution 3x3 of stride 1 and the ReLU behind it.

    Args:
        layer: its weights, on the device where it computes.
        dtype: of kernel, bias and pictures.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        if layer.bias is None or layer.kernel_size != (3, 3) or layer.stride != (1, 1) or layer.groups != 1:
            raise ValueError(f"{layer} is not a 3x3 convolution with bias and stride 1")
        self.out_channels, self.dtype = layer.out_channels, dtype
        weight = layer.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self._compute = _way(weight, layer.bias.detach().to(dtype))

    def __call__(self, pictures: Tensor, *, above: int = 1, below: int = 1) -> Tensor:
        """Return the features, zeros around the picture where it is padded.

        Args:
            pictures: [N, C, H, W], channels last, of ``dtype``.
            above: rows of zeros above, 0 or 1; columns are always padded.
            below: rows of zeros below, 0 or 1.

        Returns:
            [N, out_channels, H - 2 + above + below, W], channels last.
        """
        return self._compute(pictures, above, below)


def _way(weight: Tensor, bias: Tensor) -> Callable[[Tensor, int, int], Tensor]:
    """Return what computes a layer; it holds its kernel in one form only."""
    if pays(weight):
        return WinogradConvolution(weight, bias)
    if _is_fused(weight.device.type, weight.dtype):
        return partial(_padded, partial(_fused, packed=_packed(weight), bias=bias))
    return partial(_padded, lambda pictures, rows: F.relu_(F.conv2d(pictures, weight, bias, padding=(rows, 1))))


def _padded(operation: Callable[..., Tensor], pictures: Tensor, above: int, below: int) -> Tensor:
    """Call an operation that pads by one number of rows above and below."""
    if above == below:
        return operation(pictures, rows=above)
    return operation(F.pad(pictures, (0, 0, above, below)), rows=0)


def _fused(pictures: Tensor, *, packed: Tensor, bias: Tensor, rows: int) -> Tensor:
    operation: Any = torch.ops.mkldnn._convolution_pointwise
    found: Tensor = operation(pictures, packed, bias, [rows, 1], [1, 1], [1, 1], 1, "relu", [], "")
    return found


def _packed(weight: Tensor) -> Tensor:
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    found: Tensor = reorder(weight.to_mkldnn(), [0, 1], [1, 1], [1, 1], 1, [1, weight.shape[1], 32, 320])
    return found


@lru_cache(maxsize=8)
@torch.inference_mode()
def _is_fused(device: str, dtype: torch.dtype) -> bool:
    """Return whether the operation is there and computes what the plain ones do, on a small picture."""
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    form = torch.channels_last
    values = torch.linspace(-1, 1, 16 * 5 * 6).view(1, 16, 5, 6).sin().to(dtype).contiguous(memory_format=form)
    weight = torch.linspace(-2, 1, 16 * 16 * 9).view(16, 16, 3, 3).cos().to(dtype).contiguous(memory_format=form)
    bias = torch.linspace(-1, 1, 16).to(dtype)
    plain = F.relu(F.conv2d(values, weight, bias, padding=1)).float()
    try:
        found = _fused(values, packed=_packed(weight), bias=bias, rows=1)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(dtype, 1e-5)
    return found.dtype == dtype and torch.allclose(found.float(), plain, rtol=tolerance, atol=tolerance)
