"""Frames in batches: accelerators are given several at once, processors one."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from starvsr.metrics.metric import FrameSet

BATCH_PIXELS = {"cpu": 1, "other": 1 << 22}
"""Pixels of a batch at most, but one frame at least."""

_MOST_FRAMES = 16


def in_batches(frames: Iterator[FrameSet], device: str) -> Iterator[list[FrameSet]]:
    """Yield the frames of a clip, as many at once as a device is given.

    Args:
        frames: of one size.
        device: where networks compute, as torch names it.
    """
    most = BATCH_PIXELS["cpu" if torch.device(device).type == "cpu" else "other"]
    batch: list[FrameSet] = []
    for frame in frames:
        batch.append(frame)
        pixels = frame.hq.shape[0] * frame.hq.shape[1]
        if len(batch) >= min(_MOST_FRAMES, max(1, most // pixels)):
            yield batch
            batch = []
    if batch:
        yield batch
