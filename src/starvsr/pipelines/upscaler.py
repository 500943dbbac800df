"""What every upscaling pipeline shares: the face of a model, progress, cancelling, the result.

Loads no torch. The options live in ``options``, the work in ``stream``, the door for users in ``api``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from starvsr.errors import Cancelled
from starvsr.pipelines.options import UpscaleOptions, option_infos, options_from

if TYPE_CHECKING:
    import torch

StepCallback = Callable[[int, int], None]
"""Called as ``on_step(step, num_steps)`` after each sampling step."""


@dataclass(frozen=True)
class ModelTraits:
    """What the streaming code must know of a model: what it honours, what it likes, what it costs.

    Args:
        accepts: Names of the options marked ``model`` that this model honours; the others are refused.
        overlap: Frames of context on each side of a segment.
        crossfade: Frames over which neighbouring segments are blended when the user names none, if they fit.
        tile_overlap: Input pixels over which tiles are blended.
        segment: Longest segment worth holding, in frames; None means that memory alone decides.
        num_steps: Sampling steps when the user names none.
        noiseless_steps: Up to this many steps the model draws no noise, so that a seed changes nothing.
        color: Colour transfer when the user names none.
        write_behind: Frames that may wait to be written while the model goes on with the next segment.
        fixed_bytes: Memory of the loaded model (weights and what comes with them).
        bytes_per_pixel: Peak working memory of one call per input pixel and frame.
        bytes_per_tile_pixel: What comes on top of it per input pixel, however many frames.
        digest: SHA-256 of the weights, for the provenance record.
    """

    accepts: frozenset[str] = frozenset({"seed", "steps"})
    overlap: int = 2
    crossfade: int = 0
    tile_overlap: int = 16
    segment: int | None = None
    num_steps: int = 1
    noiseless_steps: int = 0
    color: str = "none"
    write_behind: int = 2
    fixed_bytes: int = 64 * 2**20
    bytes_per_pixel: int = 1600
    bytes_per_tile_pixel: int = 0
    digest: str | None = None


class ClipUpscaler(Protocol):
    """A model that enlarges a short clip. An attribute ``traits: ModelTraits`` may say more about it."""

    name: str
    scale: int

    def upscale_clip(
        self,
        lq: torch.Tensor,
        *,
        seed: int,
        first_frame: int,
        num_steps: int,
        on_step: StepCallback | None = None,
    ) -> torch.Tensor:
        """Enlarge a clip.

        Args:
            lq: [1, 3, T, H, W] float32 in [-1, 1], any T, H, W >= 1.
            seed: Seed of the noise; with ``first_frame`` it fixes the noise of every frame.
            first_frame: Index of the first frame in the whole video.
            num_steps: Sampling steps.
            on_step: Called after each step.

        Returns:
            [1, 3, T, scale * H, scale * W] float32, about [-1, 1].
        """
        ...


class FrameUpscaler(ClipUpscaler, Protocol):
    """A model that can also hand out the enlarged frames of a clip one by one, and only those that are kept."""

    def upscale_frames(
        self,
        lq: torch.Tensor,
        keep: slice,
        *,
        seed: int,
        first_frame: int,
        num_steps: int,
        on_step: StepCallback | None = None,
    ) -> Iterator[torch.Tensor]:
        """Yield the frames of ``upscale_clip`` that ``keep`` selects, each float32 [3, scale * H, scale * W]."""
        ...


def traits_of(upscaler: ClipUpscaler) -> ModelTraits:
    """Return the model's traits, or the defaults when it states none."""
    traits = getattr(upscaler, "traits", None)
    return traits if isinstance(traits, ModelTraits) else ModelTraits()


class CancelToken:
    """A wish to stop that any thread may utter and the work looks at often."""

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
        stage: "upscaling", "joining", "comparing" or "done".
        num_done: Output frames handed to the encoder.
        num_frames: Frames in all as far as the container tells; None when it does not.
        seconds: Time since the work began.
        fraction: Frames beyond those that are through the network already, in parts of frames for smooth bars.
        peak_memory: Largest resident memory of the process so far, in bytes.
        num_kept: Frames of ``num_done`` that an earlier run had finished.
    """

    stage: str
    num_done: int
    num_frames: int | None
    seconds: float
    fraction: float
    peak_memory: int
    num_kept: int = 0

    @property
    def frames_per_second(self) -> float:
        """Frames per second since the beginning; 0 before the first frame."""
        done = self.num_done - self.num_kept + self.fraction
        return done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left; None when the number of frames or the speed is not known yet."""
        speed = self.frames_per_second
        if self.num_frames is None or speed <= 0:
            return None
        return max(0.0, (self.num_frames - self.num_done - self.fraction) / speed)


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class UpscaleResult:
    """What a finished job leaves.

    Args:
        output: The file, folder or pattern written.
        num_frames: Frames written.
        width: Width of the output in pixels.
        height: Height of the output in pixels.
        seconds: Time the work took, loading of the model left out.
        peak_memory: Largest resident memory of the process, in bytes.
        duration: Length of the part upscaled, in seconds; None when unknown.
        notes: Sentences that the user should read (streams left out, frames skipped).
        provenance: Model, digest, options and version, as written into the output.
        comparison: Files of the before/after comparison, if asked for.
        num_kept: Frames that an earlier, interrupted run had finished.
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


__all__ = [
    "CancelToken",
    "ClipUpscaler",
    "FrameUpscaler",
    "ModelTraits",
    "Progress",
    "ProgressCallback",
    "StepCallback",
    "UpscaleOptions",
    "UpscaleResult",
    "option_infos",
    "options_from",
    "peak_memory_bytes",
    "traits_of",
]
