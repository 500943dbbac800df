"""The numbers of a STAR network. Loads no torch: the registry of models reads this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Position = Literal["before", "after", "stream", "acting"]
"""Where the gates stand around a self attention:

- "before": in the branch, before the norm: x + attn(norm(gate(x))). Published; the paper's (i).
- "after": in the branch, behind the attention: x + gate(attn(norm(x))). Our reading of (ii).
- "stream": on the stream itself: y = gate(x), y + attn(norm(y)). Our reading of (iii).
- "acting": between norm and attention, where nothing cancels it: x + attn(2 gate(norm(x))). Ours; the factor 2 makes
  a gate of 1/2, where gates start, change nothing.
"""


@dataclass(frozen=True)
class StarUNetConfig:
    """Every number of a STAR network; the defaults are the published 2.04 B model."""

    in_channels: int = 4
    out_channels: int = 4
    width: int = 320
    """Channels at full latent resolution."""
    multipliers: tuple[int | float, ...] = (1, 2, 4, 4)
    """Channels of each level, as factors on ``width``."""
    num_res_blocks: int | tuple[int, ...] = 2
    """Residual blocks of each encoder level (the decoder has one more); one number serves all levels."""
    head_dim: int = 64
    first_heads: int = 8
    """Heads of the temporal transformer behind the first convolution; 0 leaves it out."""
    attn_scales: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Resolutions, relative to the latent grid, that have transformers; the middle always has them."""
    attn_window: int = 0
    """Side of the windows, in cells of a transformer's own grid, within which a frame's cells attend to each other;
    0: the whole frame, as published."""
    liem_position: Position = "before"
    """Where the gates of LIEM stand; published: before the norm of each self attention."""
    liem_space: bool = True
    liem_time: bool = True
    context_dim: int = 1024
    norm: Literal["group", "channel"] = "group"
    temporal_stages: tuple[int, ...] = (4, 4, 4, 4)
    """Convolutions in the temporal block of each level (the last entry also serves the middle)."""
    temporal_padding: Literal["zeros", "repeat"] = "zeros"
    """What temporal convolutions see beyond the first and the last frame: nothing, as published, or these frames again,
    so that a still picture gives the same at every frame."""
    dropout: float = 0.1

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(round(self.width * factor) for factor in self.multipliers)

    @property
    def res_blocks(self) -> tuple[int, ...]:
        """Residual blocks of each encoder level."""
        blocks = self.num_res_blocks
        return (blocks,) * len(self.multipliers) if isinstance(blocks, int) else blocks

    @property
    def row_step(self) -> int:
        """Latent heights must be 2 modulo this; latent widths 0 modulo this."""
        return int(2 ** (len(self.multipliers) - 1))
