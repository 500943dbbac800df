"""GroupNorm that keeps feature maps in channels-last memory on CUDA too.

On a CPU torch's own kernel does. On CUDA it lays its input and its result out channel by channel, so that every
convolution behind a norm has to turn its map around first; here the same sums are made without that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupNormLast(nn.GroupNorm):
    """GroupNorm; on CUDA without gradients, half precision and channels-last maps by :func:`group_norm_last`."""

    def forward(self, features: Tensor) -> Tensor:
        """Return normalised features [N, C, ...]."""
        if features.is_cuda and _suits(features):
            return group_norm_last(features, self.num_groups, self.weight, self.bias, self.eps)
        return super().forward(features)


def _suits(features: Tensor) -> bool:
    """Whether maps are in half precision, one position's channels side by side, without gradients or autocast.

    Float32 is left to torch's kernel, which finds the variance in a way that loses less.
    """
    if features.dtype not in (torch.float16, torch.bfloat16) or features.stride(1) != 1:
        return False
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled(features.device.type)


def group_norm_last(features: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return the GroupNorm of features [N, C, ...] in their own memory layout.

    Mean and mean square are taken in float32, then each value is scaled and shifted once. No gradient.
    """
    last = features.movedim(1, -1)  # [N, ..., C]
    grouped = last.unflatten(-1, (num_groups, -1))  # [N, ..., G, C/G]
    inner = [*range(1, last.ndim - 1), last.ndim]
    count = grouped[0].numel() // num_groups
    mean = grouped.mean(inner, dtype=torch.float32)  # [N, G]
    square = torch.linalg.vector_norm(grouped, 2, inner, dtype=torch.float32).square() / count
    spread = (square - mean.square()).clamp(min=0).add(eps).rsqrt()
    each = last.shape[-1] // num_groups
    scale = spread.repeat_interleave(each, 1) * weight.float()  # [N, C]
    shift = bias.float() - mean.repeat_interleave(each, 1) * scale
    shape = (len(last), *[1] * (last.ndim - 2), -1)
    out = torch.empty_like(last, memory_format=torch.preserve_format)
    torch.addcmul(shift.view(shape), last, scale.view(shape), out=out)  # in float32, rounded once
    return out.movedim(-1, 1)
