"""A critic that judges frames by their VGG16 features, so that it need not learn to see first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from starvsr.models.vgg16 import VGG16_WIDTHS

FEATURE_SCALES = (88.0, 34.0, 15.0, 4.3)
"""Root mean square of the trunk's features on photos, block by block; what the critic sees is divided by it."""


class FeatureCritic(nn.Module):
    """Patch critics of the last features of the trunk's first blocks, one each.

    Each brings its features to an eighth of the frame's size, so that all blocks have as many verdicts. Frames are
    judged one by one; what changes between them, other terms have to hold.

    Source: projected GANs (arXiv 2111.01007), discriminators of frozen features at several scales; spectral
    normalisation (arXiv 1802.05957).
    """

    def __init__(self, width: int = 48, channels: Sequence[int] | None = None) -> None:
        """Build with fresh weights.

        Args:
            width: channels within each critic.
            channels: of the features, block by block; None for those of VGG16.
        """
        super().__init__()
        channels = [block[-1] for block in VGG16_WIDTHS] if channels is None else channels
        count = len(FEATURE_SCALES)
        self.heads = nn.ModuleList(_patches(channels[i], width, halvings=count - 1 - i) for i in range(count))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return all verdicts on the features [N, C, H / 2^k, W / 2^k] of the trunk's blocks: large means real."""
        seen = zip(self.heads, features, FEATURE_SCALES, strict=False)
        return torch.cat([head(block.float() / scale).flatten() for head, block, scale in seen])


def _patches(channels: int, width: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = [spectral_norm(nn.Conv2d(channels, width, 1)), nn.LeakyReLU(0.2)]
    for _ in range(halvings):
        layers += [spectral_norm(nn.Conv2d(width, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
    layers += [spectral_norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))
