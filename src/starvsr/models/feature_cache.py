"""Deep features kept over sampling steps: the coarse levels of a UNet change little from one step to the next.

In every n-th step all blocks run. In between only the first blocks of the encoder (with their part of the ControlNet)
and the last ones of the decoder do, and the decoder begins from what reached it in the last whole step.

Source: DeepCache (arXiv 2312.00858). Not what the released STAR code does: it trades quality for time.
"""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor


class FeatureCache:
    """Features of one clip with one context from its last whole step.

    Args:
        every: Steps from one whole computation to the next; 1 keeps nothing.
        num_blocks: Blocks of the encoder, and as many of the decoder, that run in every step.
    """

    def __init__(self, every: int, num_blocks: int = 1) -> None:
        self.every, self.num_blocks = every, num_blocks
        self._features: Tensor | None = None
        self._age = 0

    @property
    def features(self) -> Tensor | None:
        """Input of the last ``num_blocks`` decoder blocks, [B*T, C, h, w]; None when all blocks have to run."""
        return self._features

    def see(self, features: Tensor, num_left: int) -> None:
        """Look at the input of a decoder block, and keep that of the last ``num_blocks`` in a whole computation.

        Args:
            features: The input; nobody may overwrite it any more.
            num_left: Decoder blocks that have not run yet.
        """
        if self._features is None and num_left == self.num_blocks:
            self._age = 0
            if self.every > 1:
                self._features = features

    def next_step(self) -> None:
        """Advance by one sampling step; features too old for the next one are freed."""
        self._age += 1
        if self._age >= self.every:
            self._features = None


class FeatureCaches:
    """One cache for each clip and context of a sampling run, all of the same age in steps.

    Args:
        every: Steps from one whole computation to the next.
        num_blocks: See :class:`FeatureCache`.
    """

    def __init__(self, every: int, num_blocks: int = 1) -> None:
        self._every, self._num_blocks = every, num_blocks
        self._caches: dict[Hashable, FeatureCache] = {}

    def of(self, name: Hashable) -> FeatureCache | None:
        """Return the cache of a clip with a context, by any name of theirs; None when nothing is to be kept."""
        if self._every == 1:
            return None
        return self._caches.setdefault(name, FeatureCache(self._every, self._num_blocks))

    def next_step(self) -> None:
        """Advance all caches by one sampling step."""
        for cache in self._caches.values():
            cache.next_step()
