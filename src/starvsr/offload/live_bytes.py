"""Counting the bytes of tensors that are alive at once. Arithmetic only: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LiveBytesCounter:
    """Bytes alive now and at most so far, while a computation is simulated from shapes.

    Args:
        live: Bytes alive.
        peak: Most bytes alive at once.
        peak_at: The step that ``peak`` belongs to.
    """

    live: int = 0
    peak: int = 0
    peak_at: str = ""
    _path: list[str] = field(default_factory=list)

    def touch(self, extra: int) -> None:
        """Allocate ``extra`` bytes and free them at once."""
        if self.live + extra > self.peak:
            self.peak, self.peak_at = self.live + extra, "/".join(self._path)

    def hold(self, count: int) -> None:
        """Allocate ``count`` bytes."""
        self.live += count
        self.touch(0)

    def drop(self, count: int) -> None:
        """Free ``count`` bytes."""
        self.live -= count

    def enter(self, name: str) -> None:
        """Begin a named step; ``peak_at`` consists of these names."""
        self._path.append(name)

    def leave(self) -> None:
        """End the step begun last."""
        self._path.pop()


def largest_chunk(length: int, values_each: int, max_elements: int) -> int:
    """Return the largest number of indices that `starvsr.models.chunking.cuts` puts into one slice."""
    return min(length, max(1, max_elements // max(1, values_each)))
