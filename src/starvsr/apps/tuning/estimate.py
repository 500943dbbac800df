"""From runs over few frames to the time that the whole clip will take. Numbers only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """What a trial measured.

    Attributes:
        load_seconds: From the start of the program until the model is loaded, once for each job.
        few: Frames and seconds of a run over few frames.
        many: Frames and seconds of a run over more frames.
    """

    load_seconds: float
    few: tuple[int, float]
    many: tuple[int, float]

    @property
    def seconds_per_frame(self) -> float:
        """Seconds for each further frame; never less than nothing."""
        frames = self.many[0] - self.few[0]
        if frames <= 0:
            return self.many[1] / max(1, self.many[0])
        return max(0.0, (self.many[1] - self.few[1]) / frames)

    @property
    def fixed_seconds(self) -> float:
        """Seconds that a run takes beside its frames: opening files, checking, joining."""
        return max(0.0, self.many[1] - self.many[0] * self.seconds_per_frame)

    def whole(self, num_frames: int) -> float:
        """Return the estimated seconds for a clip of so many frames, loading included."""
        return self.load_seconds + self.fixed_seconds + num_frames * self.seconds_per_frame
