"""Counting the bytes of tensors that are alive at once. Arithmetic only: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tape:
    """Bytes alive now and at most so far, while a computation is gone through on paper.

    Args:
        live: Bytes alive.
        peak: Most bytes alive at once.
        peak_at: The step that ``peak`` belongs to.
    """

    live: int = 0
    peak: int = 0
    peak_at: str = ""
    _where: list[str] = field(default_factory=list)

    def touch(self, extra: int) -> None:
        """Let ``extra`` bytes be alive for a moment."""
        if self.live + extra > self.peak:
            self.peak, self.peak_at = self.live + extra, "/".join(self._where)

    def hold(self, count: int) -> None:
        """Keep ``count`` bytes from now on."""
        self.live += count
        self.touch(0)

    def drop(self, count: int) -> None:
        """Let go of ``count`` bytes."""
        self.live -= count

    def enter(self, name: str) -> None:
        """Begin a step; peaks are told by its name."""
        self._where.append(name)

    def leave(self) -> None:
        """End the step begun last."""
        self._where.pop()


def pieces_of(length: int, values_each: int, at_once: int) -> int:
    """Return the largest number of indices that `starvsr.models.chunking.cuts` takes at once."""
    return min(length, max(1, at_once // max(1, values_each)))
