"""States of the network at the ends of clips, found again by the frames that they come from.

A clip that begins where one before it ended needs no frames of context: what these would give is known already. A
state depends on the last few frames alone, so it is kept under a digest of those, and whoever asks must show the same
frames. Nothing depends on the order of clips, on tiles, or on what a job did before it was interrupted.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from starvsr.models.causal_sr import State

MOST_BYTES = 128 << 20
"""What the states of several tiles may take together; one is kept in any case."""

Key = tuple[bytes, ...]


@dataclass(frozen=True)
class _Kept:
    state: State
    turn: int
    num_bytes: int
    count: int = 1
    """Clips that ended in these frames: tiles of one content share the state."""


class CarriedStates:
    """Keeps states from one segment to the next.

    Args:
        memory: Earlier frames that a result depends on.
        most_bytes: See `MOST_BYTES`.
    """

    def __init__(self, memory: int, most_bytes: int = MOST_BYTES) -> None:
        self._memory, self._most_bytes = memory, most_bytes
        self._kept: dict[Key, _Kept] = {}
        self._shown: Key = ()

    def take(self, context: Sequence[Tensor]) -> State | None:
        """Return the state behind some frames, and forget it when it was asked for as often as it was kept.

        Args:
            context: All frames of the scene so far, or the last ``memory`` of them, each [1, 3, h, w].
        """
        self._shown = _key(context)
        found = self._kept.pop(self._shown, None) if context else None
        if found is None:
            return None
        if found.count > 1:
            self._kept[self._shown] = dataclasses.replace(found, count=found.count - 1)
        return found.state

    def keep(self, frames: Sequence[Tensor], state: State, turn: int) -> None:
        """Keep the state behind some frames.

        Args:
            frames: What came behind the context that was last asked for, each [1, 3, h, w].
            state: What the network returned for the last one.
            turn: Number of the segment; states of any but this one and the one before are forgotten.
        """
        self._kept = {key: one for key, one in self._kept.items() if turn - 1 <= one.turn <= turn}
        if not state:
            return
        key = (*self._shown, *_key(frames[-self._memory :]))[-self._memory :]
        same = self._kept.get(key)
        if same is not None:
            self._kept[key] = dataclasses.replace(same, turn=turn, count=same.count + 1)
            return
        size = sum(part.nbytes for part in state)
        held = sum(one.num_bytes for one in self._kept.values())
        if not held or held + size <= self._most_bytes:
            self._kept[key] = _Kept(state, turn, size)


def _key(frames: Sequence[Tensor]) -> Key:
    return tuple(_digest(frame) for frame in frames)


def _digest(frame: Tensor) -> bytes:
    hashed = hashlib.sha256(repr(tuple(frame.shape)).encode())
    for plane in frame[0].cpu():
        hashed.update(memoryview(plane.contiguous().numpy()).cast("B"))
    return hashed.digest()
