"""Fills clips up to a length that the network takes, by repeating frames; what comes of those is dropped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from starvsr.engine.segments import Segment
from starvsr.engine.traits import Traits


@dataclass(frozen=True)
class ClipFit:
    """How many frames are put around a clip.

    Args:
        before: Copies of the first frame ahead of it.
        after: Copies of the last frame behind it.
    """

    before: int = 0
    after: int = 0

    @classmethod
    def of(cls, segment: Segment, overlap: int, traits: Traits) -> ClipFit:
        """Return what a segment's clip lacks.

        Args:
            segment: The segment.
            overlap: Frames of context that the network is to see before it.
            traits: Of the model.
        """
        lacking = overlap - (segment.keep_start - segment.start)
        before = max(0, lacking) if traits.repeat_first_frame and segment.start == segment.shot_start else 0
        seen = before + segment.num_frames
        return cls(before, traits.lengths.at_least(seen) - seen)

    def filled(self, lq: Tensor) -> Tensor:
        """Fill up [1, C, T, H, W] to [1, C, before + T + after, H, W]."""
        if not (self.before or self.after):
            return lq
        first, last = lq[:, :, :1], lq[:, :, -1:]
        return torch.cat([*[first] * self.before, lq, *[last] * self.after], dim=2)

    def moved(self, keep: slice) -> slice:
        """Return the same frames in the filled clip."""
        return slice(keep.start + self.before, keep.stop + self.before)
