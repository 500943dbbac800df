"""The data loaders of a recipe: its clip source, and the stream of batches of each process."""

from __future__ import annotations

import sys

from starvsr.data.clips import ClipSource, DegradedClips, StoredPairs
from starvsr.data.motion import MotionRanges
from starvsr.data.pool import SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.errors import DataError
from starvsr.training.config import TrainConfig
from starvsr.training.distributed import Processes


def training_stream(config: TrainConfig, processes: Processes, step: int) -> SampleStream:
    """Open the sample stream of one process of a run, from a step on.

    Raises:
        DataError: there is nothing to train on, or it cannot be read.
    """
    data = config.data
    return SampleStream(
        _clips(config, print_notes=processes.rank == 0),
        num_frames=min(data.num_frames, data.clip_frames),
        lq_crop=data.lq_crop,
        lq_width=data.lq_width,
        pool_size=data.pool_size,
        crops_per_clip=data.crops_per_clip,
        seed=config.seed,
        first_sample=step * data.batch * config.run.accumulate,
        rank=processes.rank,
        world=processes.world,
        workers=data.workers,
        caption_dropout=data.caption_dropout,
        turns=data.turns,
    )


def _clips(config: TrainConfig, *, print_notes: bool) -> ClipSource:
    """Open stored pairs, or sharp clips that are degraded as they come; note skipped files on standard error."""
    data = config.data
    sizes = {"clip_frames": data.clip_frames, "gt_size": data.gt_size}
    if data.pairs:
        return StoredPairs(data.pairs, data.cache, seed=config.seed, leave_out=data.leave_out, **sizes)
    for name in ("gray_probability", "defocus_probability", "drawn_probability", "video_probability"):
        if not 0 <= getattr(data, name) <= 1:
            raise DataError(f"recipe key data.{name} is a share: between 0 and 1, not {getattr(data, name)}")
    for name in ("video_reduction", "photo_reduction"):
        if getattr(data, name) < 1:
            raise DataError(
                f"recipe key data.{name} must be at least 1, not {getattr(data, name)}: below it the ground truth "
                "would be enlarged, and soft"
            )
    source = SharpSource(
        data.videos or None,
        data.photos or None,
        data.cache,
        manifest=data.manifest or None,
        video_probability=data.video_probability,
        drawn_probability=data.drawn_probability,
        motion=MotionRanges(photo_reduction=(1.0, data.photo_reduction), video_reduction=data.video_reduction),
        captions=data.captions or None,
    )
    for note in source.notes if print_notes else ():
        print(f"note: {note}", file=sys.stderr)
    source.prepare()
    return DegradedClips(
        source,
        data.degradation,
        seed=config.seed,
        gray_probability=data.gray_probability,
        defocus_probability=data.defocus_probability,
        **sizes,
    )
