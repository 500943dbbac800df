"""DOVER's two networks and their published weights.

Source: Wu et al. 2023, "Exploring Video Quality Assessment on User Generated Contents from Aesthetic and Technical
Perspectives" (arXiv 2211.04894).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.errors import WeightsError
from starvsr.metrics.dover.convnext import ConvNeXt3D
from starvsr.metrics.dover.swin import SwinTransformer3D, WindowAttention
from starvsr.models.weights.assign import build_empty, fit
from starvsr.models.weights.metric_files import find_metric_file
from starvsr.models.weights.tensors import read_tensors

View = Literal["technical", "aesthetic"]
VIEWS: tuple[View, ...] = get_args(View)

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_INDEX = "relative_position_index"


class ScoreHead(nn.Module):
    """A score for each position of the features."""

    def __init__(self, dim: int = 768, hidden: int = 64) -> None:
        super().__init__()
        self.fc_hid = nn.Conv3d(dim, hidden, 1)
        self.fc_last = nn.Conv3d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return [B, 1, T, H, W] of [B, C, T, H, W]."""
        return torch.as_tensor(self.fc_last(F.gelu(self.fc_hid(features))))


class Dover(nn.Module):
    """A network for each view of a clip, named as the published weights name them.

    Args:
        technical: features of the mosaic of fragments.
        aesthetic: features of the whole frames made small.
        channels: of both.
    """

    def __init__(
        self, technical: nn.Module | None = None, aesthetic: nn.Module | None = None, channels: int = 768
    ) -> None:
        super().__init__()
        self.technical_backbone = technical or SwinTransformer3D()
        self.aesthetic_backbone = aesthetic or ConvNeXt3D()
        self.technical_head = ScoreHead(channels)
        self.aesthetic_head = ScoreHead(channels)

    def forward(self, clip: Tensor, view: View) -> Tensor:
        """Return the raw score [B] of clips that are views, uint8 or float [B, T, H, W, 3] RGB in 0 to 255."""
        device = self.technical_head.fc_last.weight.device
        mean, std = (torch.tensor(one, device=device) for one in (_MEAN, _STD))
        x = ((clip.to(device).float() - mean) / std).movedim(-1, 1)
        backbone, head = getattr(self, f"{view}_backbone"), getattr(self, f"{view}_head")
        return torch.as_tensor(head(backbone(x)).mean((1, 2, 3, 4)))


def load_dover(device: str = "cpu", path: Path | None = None) -> Dover:
    """Load DOVER.

    Args:
        device: where it computes.
        path: a file of the published layout; None looks for ``DOVER.pth``.

    Raises:
        MissingWeightsError: The file is not on this machine, or its terms are not accepted yet.
        WeightsError: It is damaged, or tensors are missing, unexpected or of another shape; they are named.
    """
    path = path or find_metric_file("dover", "DOVER")
    network = build_empty(Dover)
    tensors = read_tensors(path)
    attentions = {f"{name}.{_INDEX}": one for name, one in network.named_modules() if isinstance(one, WindowAttention)}
    for name, attention in attentions.items():
        _check_index(name, tensors.pop(name, None), attention.relative_position_index, path)
    fit(network, tensors, path, dtype=torch.float32)
    return network.to(device).eval().requires_grad_(False)


def _check_index(name: str, given: Tensor | None, wanted: Tensor, path: Path) -> None:
    """Check a table that is no weight: which bias belongs to which pair of positions.

    Raises:
        WeightsError: It is missing, or pairs positions in another way than this network.
    """
    if given is None or not torch.equal(given, wanted):
        problem = "is missing" if given is None else "differs"
        raise WeightsError(
            f"{path} does not fit DOVER: the tensor {name} {problem}; give DOVER.pth as it was published"
        )
