"""One segment of a job as data: all that its pixels depend on, ready to be sent to another process or machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.clip_fit import ClipFit
from starvsr.engine.render import Pixels, U16Frames, upscale_segment
from starvsr.engine.segments import Segment
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings, ModelReference, Session

OnFraction = Callable[[float], None]
"""Called with the share of a segment that is rendered, 0..1."""


@dataclass(frozen=True)
class RenderSettings:
    """What all segments of a job share.

    Args:
        plan: Segments and tiles, and how the model uses its memory.
        settings: What the job asks of the model: enlargement, steps, seed, ...
        traits: Of the model with these settings.
        model: How the model is loaded elsewhere; None when the job never leaves this process.
        input_sha256: Fingerprint of the input that the frames are from; None when it has none.
        first_frame: Index of the first frame in the whole video; with the seed it fixes the noise of each frame.
    """

    plan: ChunkPlan
    settings: JobSettings = field(default_factory=JobSettings)
    traits: Traits = field(default_factory=Traits)
    model: ModelReference | None = None
    input_sha256: str | None = None
    first_frame: int = 0


@dataclass(frozen=True, eq=False)
class SegmentTask:
    """One segment to render. Can be pickled when the model reference can.

    A task is complete: who renders it needs neither the input nor the job's folder, and gets the same bytes each time.

    Args:
        render: What it shares with the other segments of its job.
        segment: Which frames it looks at and keeps, and where it lies in its shot (between two scene cuts).
        frames: The frames [segment.start, segment.stop), uint8 or uint16 [H, W, 3 or 4], full range.
    """

    render: RenderSettings
    segment: Segment
    frames: tuple[Pixels, ...]

    def run(self, session: Session, device: str = "cpu", on_fraction: OnFraction | None = None) -> Iterator[U16Frames]:
        """Render the segment, as its frames are asked for.

        Args:
            session: A session of the model with ``render.settings`` and ``render.plan``.
            device: Where the model computes.
            on_fraction: Called now and then; may raise to give up.

        Returns:
            Iterator of ``segment.num_made`` frames, uint16 [scale * H, scale * W, 3] over 0..65535.

        Raises:
            StarVsrError: Whatever the model raises; values that are no numbers.
        """
        render, segment = self.render, self.segment
        return upscale_segment(
            session,
            self.frames,
            segment,
            render.plan.grid,
            scale=render.settings.scale,
            fit=ClipFit.of(segment, render.plan.overlap, render.traits),
            first_frame=render.first_frame + segment.start,
            device=device,
            on_fraction=on_fraction,
        )
