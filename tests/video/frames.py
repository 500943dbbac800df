"""Whole videos read, written and copied in one call."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from starvsr.video import EncodeOptions, VideoReader, VideoWriter

QUICK = EncodeOptions(preset="ultrafast")


def read(path: Path, **arguments: Any) -> list[np.ndarray]:
    """Return the pixels of every frame."""
    with VideoReader(path, **arguments) as reader:
        return [frame.pixels for frame in reader]


def copy(source: Path, out: Path, *, options: EncodeOptions = QUICK, **reading: Any) -> VideoWriter:
    """Read everything and write it again."""
    with VideoReader(source, **reading) as reader:
        info = reader.info
        with VideoWriter(
            out, source=info, width=info.width, height=info.height, options=options, time_range=reader.time_range
        ) as writer:
            for frame in reader:
                writer.write(frame.pixels, frame.pts, frame.duration)
    return writer


def times(path: Path) -> list[tuple[Fraction, Fraction]]:
    with VideoReader(path) as reader:
        return [(f.pts * f.time_base, f.duration * f.time_base) for f in reader]


def write(out: Path, frames: np.ndarray, options: EncodeOptions | None = None, **kwargs: Any) -> VideoWriter:
    height, width, channels = frames.shape[1:]
    with VideoWriter(
        out, source=None, width=width, height=height, options=options, alpha=channels == 4, **kwargs
    ) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index, 1)
    return writer


def pixels_of(path: Path) -> np.ndarray:
    return np.stack(read(path))
