"""Clips to play in the report: the result and what it is compared with in the two halves of one H.264 video.

One video instead of two: no player keeps two of them in step to the frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from starvsr.evaluation.pairing import ClipTrio
from starvsr.evaluation.shown_frames import ShownFrame
from starvsr.metrics.metric import ByteArray
from starvsr.video import EncodeOptions, VideoWriter

LONGEST_SIDE = 1280
"""Of one half in pixels; larger frames are made smaller."""

MOST_FRAMES = 900
"""Of a preview; longer clips are shown from their beginning."""

_SMALLEST_SIDE = 16
_RATES = (Fraction(1), Fraction(120))
_ENCODING = EncodeOptions(codec="libx264", crf=16, preset="veryfast", pixel_format="yuv420p")


@dataclass(frozen=True)
class Preview:
    """A video of a clip.

    Attributes:
        file: Its name in the folder.
        width: Of one half in pixels.
        height: Of one half.
        across: Whether the halves stand side by side, else above each other; the result comes first.
        other: What the second half shows; "" where there is none.
        frame_rate: Constant rate at which it plays.
        num_frames: Frames in it.
    """

    file: str
    width: int
    height: int
    across: bool
    other: str
    frame_rate: Fraction
    num_frames: int


def illustrate(
    trio: ClipTrio, shown: Collection[ShownFrame], folder: Path | None, stem: str, *, num_frames: int
) -> Preview | None:
    """Read a clip once more, for its pictures and its preview.

    Args:
        trio: the clip.
        shown: its frames that the report shows, which get their pictures.
        folder: where the preview goes; None for none.
        stem: name of the preview.
        num_frames: of the clip; a single frame gets no preview.

    Returns:
        The preview; None without one.
    """
    wanted = {frame.frame: frame for frame in shown}
    last = max([*wanted, min(num_frames, MOST_FRAMES) - 1 if folder is not None else -1])
    recorder: _Recorder | None = None
    other_name = "reference" if trio.gt is not None else "input, enlarged" if trio.lq is not None else ""
    for index, (hq, other) in enumerate(_beside(trio)):
        if index > last:
            break
        if index in wanted:
            wanted[index].draw(hq, other, other_name)
        if folder is None or num_frames < 2 or index >= MOST_FRAMES:
            continue
        if recorder is None:
            recorder = _Recorder(folder / f"{stem}.mp4", hq, other_name, trio.hq.frame_rate)
        recorder.write(hq, other)
    return None if recorder is None else recorder.close()


class _Recorder:
    """Encodes a preview."""

    def __init__(self, path: Path, hq: ByteArray, other: str, frame_rate: Fraction) -> None:
        height, width = hq.shape[:2]
        factor = min(1.0, LONGEST_SIDE / max(height, width))
        self._size = (_even(width * factor), _even(height * factor))
        self._across = self._size[0] < self._size[1]
        self._path, self._other = path, other
        self._rate = min(max(frame_rate, _RATES[0]), _RATES[1])
        self._count = 0
        halves = 2 if other else 1
        self._writer = VideoWriter(
            path,
            source=None,
            width=self._size[0] * (halves if self._across else 1),
            height=self._size[1] * (1 if self._across else halves),
            options=_ENCODING,
            frame_rate=self._rate,
            bit_depth=8,
            alpha=False,
        )
        self._writer.__enter__()

    def write(self, hq: ByteArray, other: ByteArray | None) -> None:
        """Add a frame; what goes wrong leaves no file."""
        halves = [_fitted(frame, self._size) for frame in (hq, other) if frame is not None]
        picture = np.concatenate(halves, axis=1 if self._across else 0)
        self._writer.write(picture, self._count, 1)
        self._count += 1

    def close(self) -> Preview:
        """Finish the file."""
        self._writer.__exit__(None, None, None)
        width, height = self._size
        return Preview(self._path.name, width, height, self._across, self._other, self._rate, self._count)


def _beside(trio: ClipTrio) -> Iterator[tuple[ByteArray, ByteArray | None]]:
    """Yield the frames of the result beside those of the reference, or else of the input at the result's size."""
    if trio.gt is not None:
        yield from zip(trio.hq, trio.gt, strict=False)
        return
    if trio.lq is None:
        yield from zip_longest(trio.hq, ())
        return
    size = (trio.hq.info.width, trio.hq.info.height)
    for hq, lq in zip(trio.hq, trio.lq, strict=False):
        yield hq, np.asarray(Image.fromarray(lq).resize(size, Image.Resampling.BICUBIC))


def _even(side: float) -> int:
    return max(_SMALLEST_SIDE, round(side / 2) * 2)


def _fitted(frame: ByteArray, size: tuple[int, int]) -> ByteArray:
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
