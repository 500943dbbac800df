"""A patch discriminator of clips, for the adversarial term."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchCritic(nn.Module):
    """Four strided convolutions over frames and their neighbours; one verdict per patch, none per clip.

    Spectral normalisation keeps it stable at any learning rate that the network itself tolerates.
    Source: PatchGAN (arXiv 1611.07004), spectral normalisation (arXiv 1802.05957).
    """

    def __init__(self, width: int = 32) -> None:
        """Build with ``width`` channels at the finest scale."""
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for cin, cout in pairwise(sizes):
            conv = nn.Conv3d(cin, cout, (3, 4, 4), stride=(1, 2, 2), padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv3d(sizes[-1], 1, (1, 3, 3), padding=(0, 1, 1))))

    def forward(self, clip: Tensor) -> Tensor:
        """Return verdicts [B, 1, T, H/8, W/8] on a clip [B, 3, T, H, W]: large means real."""
        out: Tensor = self.layers(clip)
        return out


Seen = Tensor | Sequence[Tensor]
"""What a critic is given: a clip, or features of its frames."""


def critic_loss(critic: nn.Module, real: Seen, made: Seen) -> Tensor:
    """Hinge loss of the critic."""
    return F.relu(1 - critic(real)).mean() + F.relu(1 + critic(made)).mean()


def adversarial_loss(critic: nn.Module, made: Seen) -> Tensor:
    """Adversarial loss of the network; the critic's weights get no gradient."""
    wanted = [parameter.requires_grad for parameter in critic.parameters()]
    critic.requires_grad_(False)
    try:
        return -critic(made).mean()
    finally:
        for parameter, was in zip(critic.parameters(), wanted, strict=True):
            parameter.requires_grad_(was)
