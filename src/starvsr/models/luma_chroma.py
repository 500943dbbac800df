"""Luma and chroma of pictures, and how much of a change of chroma an input allows.

Source: full-range BT.601 as in JFIF.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in luma."""
CB, CR = 1.772, 1.402
"""Blue and red less luma, for chroma of 1."""
_WINDOW = 9
_SOFTNESS = 4 / 127.5
"""Chroma, in [-1, 1], at which half of a change is let through."""


def to_ycc(rgb: Tensor) -> Tensor:
    """Turn RGB [N, 3, ...] into luma and chroma of the same shape; gray has chroma 0."""
    red, green, blue = rgb.unbind(1)
    luma = green + LUMA[0] * (red - green) + LUMA[2] * (blue - green)  # gray: exactly its value
    return torch.stack([luma, (blue - luma) / CB, (red - luma) / CR], dim=1)


def chroma_gate(chroma: Tensor) -> Tensor:
    """Return the share [N, 1, h, w] of a change of chroma that is let through, from the input's chroma [N, 2, h, w].

    It is m / (m + s) with the largest absolute chroma m of a window and a constant s: zero where the input is gray,
    close to one in coloured areas.
    """
    size = chroma.abs().amax(dim=1, keepdim=True)
    reach = _WINDOW // 2
    nearby = F.max_pool2d(size, (_WINDOW, 1), stride=1, padding=(reach, 0))  # rows, then columns: the same
    nearby = F.max_pool2d(nearby, (1, _WINDOW), stride=1, padding=(0, reach))
    nearby = F.avg_pool2d(nearby, 3, stride=1, padding=1, count_include_pad=False)
    return nearby / (nearby + _SOFTNESS)
