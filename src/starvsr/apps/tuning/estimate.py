"""From runs over few frames to the time that the whole clip will take. Numbers only.

What takes time is the frames that the model computes: those that are kept, and the context of each segment. Their share
differs from part to part: the first segment of a shot has no context before it, and a short shot is a segment of its
own. So runs and the whole are compared by frames computed, which the plans of both tell.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """A run over a part.

    Attributes:
        num_frames: Frames of its result.
        num_computed: Frames that the model computed, the context of segments counted.
        seconds: What it took.
    """

    num_frames: int
    num_computed: int
    seconds: float


@dataclass(frozen=True)
class Timing:
    """What a trial measured.

    Attributes:
        load_seconds: From the start of the program until the model is loaded, and from the end of the work until the
            program has ended; once for each job.
        cold: A run over few frames, the first one of the process.
        few: The same, once more.
        many: A run over more frames.
        num_computed: Frames that the whole clip will have computed; None where its length is not known.
    """

    load_seconds: float
    cold: Run
    few: Run
    many: Run
    num_computed: int | None = None

    @property
    def warm_up_seconds(self) -> float:
        """Seconds that the first run of a process takes beside what every run takes: kernels that are prepared."""
        return max(0.0, self.cold.seconds - self.few.seconds)

    @property
    def seconds_per_computed(self) -> float:
        """Seconds for each further frame that is computed; never less than nothing."""
        frames = self.many.num_computed - self.few.num_computed
        if frames <= 0:
            return self.many.seconds / max(1, self.many.num_computed)
        return max(0.0, (self.many.seconds - self.few.seconds) / frames)

    @property
    def seconds_per_frame(self) -> float:
        """Seconds for each frame of the result, at the share of context that the longer run had."""
        return self.seconds_per_computed * self.many.num_computed / max(1, self.many.num_frames)

    @property
    def fixed_seconds(self) -> float:
        """Seconds that a run takes beside its frames: opening files, checking, joining."""
        return max(0.0, self.many.seconds - self.many.num_computed * self.seconds_per_computed)

    @property
    def whole(self) -> float | None:
        """The estimated seconds of the whole clip, loading included; None where its length is not known."""
        if self.num_computed is None:
            return None
        once = self.load_seconds + self.warm_up_seconds + self.fixed_seconds
        return once + self.num_computed * self.seconds_per_computed
