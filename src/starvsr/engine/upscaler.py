"""The face of a model: what every family offers to those who cut videos into clips. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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
