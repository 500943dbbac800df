"""Sizes of the causal network. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError

CONTEXT_SCALE = 4
"""Positions of the trunk per position of the context, along each side."""


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
        shared_head: whether the head enlarges features first and convolves then, so that all sub-pixels share their
            kernels and only the last step, to luma at four times the size, has kernels of their own.
        thin_block: whether the head has a residual block at twice the input's resolution.
        context_width: channels of the context, a branch at an eighth of the input's resolution that tells the trunk
            what damage and content are around; 0 for none.
        context_blocks: residual blocks of the context.
        context_after: blocks of the trunk before the context; the others are told.
    """

    width: int = 64
    num_blocks: int = 8
    memory: int = 6
    shift: float = 0.25
    up_width: int = 32
    thin_width: int = 16
    shared_head: bool = False
    thin_block: bool = False
    context_width: int = 0
    context_blocks: int = 3
    context_after: int = 2

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            OptionError: a memory that the blocks cannot hold, or a size below one.
        """
        if not 0 <= self.memory <= self.num_blocks:
            raise OptionError(f"memory must be 0 to num_blocks ({self.num_blocks}), not {self.memory}")
        if min(self.width, self.num_blocks, self.up_width, self.thin_width) < 1 or not 0 < self.shift < 1:
            raise OptionError(f"sizes of CausalSR must be at least 1 and shift between 0 and 1, not {self}")
        if self.context_width == 0:
            return
        if min(self.context_width, self.context_blocks) < 0 or not 0 <= self.context_after < self.num_blocks:
            raise OptionError(
                f"the context of CausalSR must have sizes of 0 or more and come before the last of {self.num_blocks} "
                f"blocks, not {self}"
            )

    @property
    def shifted_channels(self) -> int:
        """Channels that come from the frame before."""
        return max(1, round(self.width * self.shift))

    @property
    def reach(self) -> int:
        """Input pixels that a result depends on, to each side; the head's own reach rounded up."""
        context = CONTEXT_SCALE * (2 * self.context_blocks + 2) if self.context_width else 0
        return 2 * (2 * self.num_blocks + 1) + 6 + 2 * context
