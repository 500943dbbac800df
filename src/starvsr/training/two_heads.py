"""A critic with two heads: one judges the detail of single frames, the other how neighbours fit together."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class TwoHeadCritic(nn.Module):
    """Two small patch critics of 2-D convolutions.

    The first sees a frame. The second sees a frame and the change to the next one, so that it tells motion from
    flicker; with one frame it gives no verdict. A network that satisfies one cannot do so at the cost of the other.

    Source: the two heads of AdcVSR (arXiv 2603.00458), PatchGAN (arXiv 1611.07004), spectral normalisation
    (arXiv 1802.05957).
    """

    def __init__(self, width: int = 32) -> None:
        """Build with ``width`` channels at half the size of the frames."""
        super().__init__()
        self.detail = _patches(3, width)
        self.consistency = _patches(6, width)

    def forward(self, clip: Tensor) -> Tensor:
        """Return all verdicts [N] on a clip [B, 3, T, H, W], both heads weighing alike: large means real."""
        frames = clip.transpose(1, 2)  # [B, T, 3, H, W]
        verdicts = [self.detail(frames.flatten(0, 1)).flatten()]
        if clip.shape[2] > 1:
            change = frames[:, 1:] - frames[:, :-1]
            pairs = torch.cat([frames[:, :-1], 4 * change], dim=2)
            found = self.consistency(pairs.flatten(0, 1)).flatten()
            verdicts.append(found.repeat(max(1, round(len(verdicts[0]) / len(found)))))
        return torch.cat(verdicts)


def _patches(channels: int, width: int) -> nn.Sequential:
    sizes = [channels, width, 2 * width, 4 * width]
    layers: list[nn.Module] = []
    for cin, cout in pairwise(sizes):
        layers += [spectral_norm(nn.Conv2d(cin, cout, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1)))
