"""RAFT's correlation features without the table of every pixel against every other. Inference only.

The table grows with the square of the frame's area: 67 GB for 3840x2160 pixels, in float32. Here its rows are computed
for some pixels at a time, in each update anew, and dropped once they are sampled. Each row depends on no other, so the
features differ by nothing but the rounding of matrix products of other sizes.

Source: Teed and Deng 2020 (arXiv 2003.12039), section 3.2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.chunking import cuts

MAX_SCORES = 1 << 26
"""Values of the table that are computed at once, at most: 256 MB in float32."""


class ChunkedCorrelation(nn.Module):
    """A correlation block for torchvision's ``RAFT``, which calls its two methods.

    Args:
        num_levels: Sizes that the other frame's features are seen in, each half of the one before.
        radius: Features are taken from (2 * radius + 1)^2 places of each level.
        max_scores: Values of the table that are computed at once, at most.
    """

    def __init__(self, num_levels: int = 4, radius: int = 4, max_scores: int = MAX_SCORES) -> None:
        super().__init__()
        self.num_levels, self.radius, self.max_scores = num_levels, radius, max_scores
        self.out_channels = num_levels * (2 * radius + 1) ** 2
        self._features: tuple[Tensor, Tensor] | None = None

    def build_pyramid(self, fmap1: Tensor, fmap2: Tensor) -> None:
        """Take the features of both frames, [B, C, h, w] each; they are held until `release`."""
        self._features = fmap1, fmap2

    def release(self) -> None:
        """Free the features."""
        self._features = None

    def index_pyramid(self, centroids_coords: Tensor) -> Tensor:
        """Return the correlation around where each pixel of the first frame is looked for in the second.

        Args:
            centroids_coords: [B, 2, h, w], column and row in the second frame.

        Returns:
            [B, out_channels, h, w]: level by level, in each the columns of the neighbourhood one after the other.
        """
        assert self._features is not None, "build_pyramid comes first"
        ours, theirs = (features.flatten(2) for features in self._features)
        batch, channels, cells = ours.shape
        height, width = centroids_coords.shape[-2:]
        made = ours.new_empty(batch, self.out_channels, cells)
        parts = cuts(cells, cells, self.max_scores)
        if ours.device.type == "meta":
            del parts[1:]  # of shapes without values the first one tells all
        for item in range(batch):
            for part in parts:
                scores = (ours[item, :, part].T @ theirs[item]).div_(math.sqrt(channels))
                centres = centroids_coords[item].flatten(1)[:, part].T
                made[item, :, part] = self._around(scores.view(-1, 1, height, width), centres).T
                del scores
        return made.view(batch, -1, height, width)

    def _around(self, scores: Tensor, centres: Tensor) -> Tensor:
        """Sample rows of the table [n, 1, h, w] around centres [n, 2]; returns [n, out_channels]."""
        steps = torch.arange(-self.radius, self.radius + 1, device=centres.device, dtype=centres.dtype)
        offsets = torch.cartesian_prod(steps, steps)[:, None]
        found = []
        for level in range(self.num_levels):
            if level:
                scores, centres = F.avg_pool2d(scores, 2), centres / 2
            last = centres.new_tensor([scores.shape[-1] - 1, scores.shape[-2] - 1])
            places = 2 * (centres[:, None, None] + offsets) / last - 1
            found.append(F.grid_sample(scores, places, mode="bilinear", align_corners=True).flatten(1))
        return torch.cat(found, 1)
