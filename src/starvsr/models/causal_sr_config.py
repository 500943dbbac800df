"""Sizes of the causal network. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError


@dataclass(frozen=True)
class CausalSRConfig:
    """Sizes of a `starvsr.models.causal_sr.CausalSR`.

    Attributes:
        width: channels of the trunk, at half the input's resolution.
        num_blocks: residual blocks of two convolutions each.
        memory: earlier frames that a result depends on: the first ``memory`` blocks see the frame before.
        shift: share of the channels that come from the frame before.
        up_width: channels at the input's resolution, in the head.
        thin_width: channels at twice the input's resolution, in the head.
    """

    width: int = 64
    num_blocks: int = 8
    memory: int = 6
    shift: float = 0.25
    up_width: int = 32
    thin_width: int = 16

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            OptionError: a memory that the blocks cannot hold, or a size below one.
        """
        if not 0 <= self.memory <= self.num_blocks:
            raise OptionError(f"memory must be 0 to num_blocks ({self.num_blocks}), not {self.memory}")
        if min(self.width, self.num_blocks, self.up_width, self.thin_width) < 1 or not 0 < self.shift < 1:
            raise OptionError(f"sizes of CausalSR must be at least 1 and shift between 0 and 1, not {self}")

    @property
    def shifted_channels(self) -> int:
        """Channels that come from the frame before."""
        return max(1, round(self.width * self.shift))
