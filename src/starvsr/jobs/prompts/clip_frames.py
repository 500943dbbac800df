"""Write a few frames of a clip as PNG files, spread evenly over the part that is upscaled."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.inputs import open_reader
from starvsr.video.pixels import to_8_bits

if TYPE_CHECKING:
    from starvsr.video import VideoFrame, VideoInfo


def write_frames(info: VideoInfo, options: UpscaleOptions, count: int, folder: Path) -> list[Path]:
    """Write frames of an input, upright, in 8 bits, without transparency.

    Args:
        info: The input.
        options: Which part of it is upscaled, and how it is read.
        count: Frames to write; fewer where there are not so many.
        folder: Where they go, as ``frame_1.png`` and so on.

    Returns:
        The files, in presentation order.

    Raises:
        InputError: The input cannot be read.
        OSError: The folder cannot be written.
    """
    frames = [
        frame for place in _places(info, options, count) if (frame := _frame_at(info, options, place)) is not None
    ]
    if not frames:
        with closing(open_reader(info, options)) as reader:
            frames = [next(iter(reader))]
    by_time = {frame.pts: frame for frame in frames}
    return [_write(frame, folder / f"frame_{number}.png") for number, frame in enumerate(by_time.values(), 1)]


def _places(info: VideoInfo, options: UpscaleOptions, count: int) -> list[Fraction]:
    """Return seconds after the first frame: the middles of equal shares of the part; none if its end is not known.

    A frame is shown from its time on: places lie a frame earlier, so that the one that is shown then comes next.
    """
    begin = options.start or Fraction(0)
    if info.duration is None:
        return []
    left = info.duration - begin
    length = left if options.duration is None else min(options.duration, left)
    middles = [length * (2 * number + 1) / (2 * count) for number in range(count)]
    return [begin + max(Fraction(0), middle - 1 / info.frame_rate) for middle in middles]


def _frame_at(info: VideoInfo, options: UpscaleOptions, place: Fraction) -> VideoFrame | None:
    """Return the first frame at or after a place; None where the frames end before it."""
    try:
        with closing(open_reader(info, replace(options, start=place, duration=None))) as reader:
            return next(iter(reader), None)
    except OptionError:  # no frame there
        return None


def _write(frame: VideoFrame, path: Path) -> Path:
    Image.fromarray(to_8_bits(frame.pixels[:, :, :3])).save(path)
    return path
