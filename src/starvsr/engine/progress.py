"""What a job tells while it runs and when it is done, and how it is asked to stop. Loads no torch."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.errors import Cancelled


class CancelToken:
    """Thread-safe cancellation flag that the work checks often."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked the work to stop."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled when somebody asked the work to stop."""
        if self._event.is_set():
            raise Cancelled("stopped on request: nothing was written under the output's name")


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Args:
        stage: "probing", "checking" and "planning" (where they take longer than a moment), "upscaling", "joining",
            "comparing" or "done".
        num_done: Output frames handed to the encoder.
        num_frames: Frames in all; before and while planning as far as the container tells, None when it does not.
        seconds: Time since the work began.
        fraction: Frames beyond those that are through the network already, in parts of frames for smooth bars.
        peak_memory: Largest resident memory so far of the process and of those that render for it, in bytes.
        num_kept: Frames of ``num_done`` that an earlier run had finished.
        seconds_before: Time of ``seconds`` that passed before the first frame was upscaled, for the speed.
        num_planned: Input frames that were looked at while planning.
    """

    stage: str
    num_done: int
    num_frames: int | None
    seconds: float
    fraction: float
    peak_memory: int
    num_kept: int = 0
    seconds_before: float = 0.0
    num_planned: int = 0

    @property
    def frames_per_second(self) -> float:
        """Frames per second since upscaling began; 0 before the first frame."""
        done = self.num_done - self.num_kept + self.fraction
        seconds = self.seconds - self.seconds_before
        return done / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left; None when the number of frames or the speed is not known yet."""
        speed = self.frames_per_second
        if self.num_frames is None or speed <= 0:
            return None
        return max(0.0, (self.num_frames - self.num_done - self.fraction) / speed)


ProgressCallback = Callable[[Progress], None]


class ProgressTracker:
    """Counts frames, handed on and through the network, and reports to the listener.

    Args:
        listener: Called with each report; None for nobody.
        num_frames: Frames in all, if known.
    """

    def __init__(self, listener: ProgressCallback | None, num_frames: int | None) -> None:
        self._listener = listener
        self._began = time.monotonic()
        self._seconds_before = 0.0
        self._under_way: dict[int, float] = {}  # rendered frames of the segments that are not whole yet
        self._rendered = 0.0
        self.num_frames = num_frames
        self.num_done = 0
        self.num_kept = 0
        self.worker_memory: Callable[[], int] = lambda: 0

    def keep(self, count: int) -> None:
        """Count frames that an earlier run finished; they say nothing of the speed."""
        self.num_done = self.num_kept = count
        self._seconds_before = self.seconds

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.monotonic() - self._began

    @property
    def peak_memory(self) -> int:
        """Largest resident memory so far, of this process and of those that render for it, in bytes."""
        return peak_memory_bytes() + self.worker_memory()

    def segment_progress(self, index: int, share: float, num_frames: int) -> None:
        """Report that a share of a segment of so many frames is rendered."""
        rendered = share * num_frames
        self._rendered += rendered - self._under_way.pop(index, 0.0)
        if share < 1:
            self._under_way[index] = rendered
        self.report()

    def frame_done(self) -> None:
        """Count a frame that was handed on, and report."""
        self.num_done += 1
        self.report()

    def report(self, stage: str = "upscaling", *, num_planned: int = 0) -> None:
        """Report to the listener; ``num_planned`` are the frames looked at while the job is planned."""
        if self._listener is not None:
            progress = Progress(
                stage,
                self.num_done,
                self.num_frames,
                self.seconds,
                max(0.0, self.num_kept + self._rendered - self.num_done),
                self.peak_memory,
                self.num_kept,
                self._seconds_before,
                num_planned,
            )
            self._listener(progress)


@dataclass(frozen=True)
class UpscaleResult:
    """What a finished job leaves.

    Args:
        output: The file, folder or pattern written.
        num_frames: Frames written.
        width: Width of the output in pixels.
        height: Height of the output in pixels.
        seconds: Time the work took, loading of the model left out.
        peak_memory: Largest resident memory of the process and of those that rendered for it, in bytes.
        duration: Length of the part upscaled, in seconds; None when unknown.
        notes: Sentences that the user should read (streams left out, frames skipped).
        provenance: Model, digest, options and version, as written into the output.
        comparison: Files of the before/after comparison, if asked for.
        num_kept: Frames that an earlier, interrupted run had finished.
        kind: What was counted: "frame", or "photo" for a folder of photos, whose largest size is given.
    """

    output: Path
    num_frames: int
    width: int
    height: int
    seconds: float
    peak_memory: int
    duration: Fraction | None
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    comparison: tuple[Path, ...] = ()
    num_kept: int = 0
    kind: str = "frame"

    @property
    def seconds_per_frame(self) -> float:
        """Mean time for one frame of those made now."""
        return self.seconds / max(1, self.num_frames - self.num_kept)


def peak_memory_bytes() -> int:
    """Return the largest resident memory that this process has had, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
