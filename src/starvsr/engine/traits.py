"""What the engine must know of a model: the clips it takes, the context it needs, what it honours, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tiling = Literal["engine", "family", "none"]
"""Who cuts frames into tiles: the engine, the model itself (its plan says how), or nobody (whole frames only)."""


@dataclass(frozen=True)
class ClipLengths:
    """Numbers of frames that a network takes at once: ``multiple * k + offset`` for k >= 0, at least 1.

    Shorter clips are filled up by repeating their last frame, and what comes of that is dropped.

    Args:
        multiple: 1 takes any number; 4 with offset 1 takes 1, 5, 9, ...
        offset: See above; less than ``multiple``.
        whole: The network must see the whole clip at once: the job is one segment.
    """

    multiple: int = 1
    offset: int = 0
    whole: bool = False

    def at_least(self, num_frames: int) -> int:
        """Return the smallest length allowed that holds ``num_frames``."""
        steps = max(0, -(-(num_frames - self.offset) // self.multiple))
        return max(self.multiple * steps + self.offset, 1)


@dataclass(frozen=True)
class Traits:
    """What the engine must know of a model.

    Args:
        scales: Enlargements offered, ascending; the smallest that reaches the job's is taken, its result reduced.
        accepts: Names of the model options that a job may give; those in neither this nor ``loads`` are refused.
        loads: Names of the model options that hold from loading on, for every job.
        lengths: Numbers of frames that it takes at once.
        overlap: Frames of context before a segment, and after it unless ``overlap_after`` says otherwise.
        overlap_after: Frames of context after a segment.
        carries: Whether a session keeps what the context before a segment would give, so that this is computed only
            where the segment before it was not rendered by the same session.
        repeat_first_frame: At the start of a shot, repeat its first frame so that ``overlap`` frames precede it.
        crossfade: Frames over which neighbouring segments are blended when the user names none, if they fit.
        least_side: Shortest side of a frame that it takes, in input pixels.
        tiling: Who cuts frames into tiles.
        tile_overlap: Input pixels over which tiles are blended.
        segment: Longest segment worth holding, in frames; None means that memory alone decides.
        num_steps: Sampling steps when the user names none.
        color: Colour transfer when the user names none.
        sharpen: How much the fine texture of finished frames is brought out when the user does not say.
        write_behind: Frames that may wait to be written while the model continues with the next segment.
        fixed_bytes: Memory of the loaded model (weights and what comes with them).
        bytes_per_pixel: Peak working memory of one call per input pixel and frame.
        bytes_per_tile_pixel: What comes on top of it per input pixel, however many frames.
        digest: SHA-256 of the weights, for the provenance record.
    """

    scales: tuple[int, ...] = (4,)
    accepts: frozenset[str] = frozenset({"steps"})
    loads: frozenset[str] = frozenset()
    lengths: ClipLengths = ClipLengths()
    overlap: int = 2
    overlap_after: int | None = None
    carries: bool = False
    repeat_first_frame: bool = False
    crossfade: int = 0
    least_side: int = 1
    tiling: Tiling = "engine"
    tile_overlap: int = 16
    segment: int | None = None
    num_steps: int = 1
    color: str = "none"
    sharpen: float = 0
    write_behind: int = 2
    fixed_bytes: int = 64 * 2**20
    bytes_per_pixel: int = 1600
    bytes_per_tile_pixel: int = 0
    digest: str | None = None
