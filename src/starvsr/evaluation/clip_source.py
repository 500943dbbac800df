"""A clip to be scored: a video, an image, a folder of frames or a numbered pattern, read anew as often as asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from starvsr.metrics.metric import ByteArray
from starvsr.video import VideoFrame, VideoInfo, VideoReader, probe
from starvsr.video.pixels import to_8_bits
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits
from starvsr.video.write.publish import file_sha256


@dataclass(frozen=True)
class ClipSource:
    """A clip on disk.

    Attributes:
        name: What tables call it; clips are paired by it.
        path: A file, a folder of images, or a pattern such as ``f_%05d.png``.
        limits: What it may ask for.
    """

    name: str
    path: Path
    limits: Limits = DEFAULT_LIMITS

    @cached_property
    def info(self) -> VideoInfo:
        """What the file says of itself.

        Raises:
            InputError: it cannot be read.
        """
        return probe(self.path, limits=self.limits)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the clip consists of, in order."""
        return self.info.files or (self.path,)

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second."""
        return self.info.frame_rate

    @property
    def has_times(self) -> bool:
        """Whether the file tells when its frames are shown; images do not."""
        return self.info.has_timestamps and self.info.kind in ("video", "animation")

    def timed_frames(self, on_note: Callable[[str], None] | None = None) -> Iterator[tuple[Fraction, ByteArray]]:
        """Yield each frame with its time in seconds after the first one.

        Args:
            on_note: Called with what is noticed on the way, beside what `info` tells.

        Raises:
            InputError: the file is damaged or cut off.
        """
        first: int | None = None
        with VideoReader(self.path, info=self.info, limits=self.limits) as reader:
            told = set(reader.notes)
            for frame in reader:
                first = frame.pts if first is None else first
                yield (frame.pts - first) * frame.time_base, eight_bits(frame)
            if on_note is not None:
                for note in reader.notes:
                    if note not in told:
                        on_note(note)

    def __iter__(self) -> Iterator[ByteArray]:
        """Yield the frames, uint8 [H, W, 3] RGB, in presentation order."""
        return (frame for _, frame in self.timed_frames())

    def record(self) -> dict[str, Any]:
        """Describe the clip for the report, with the SHA-256 of its bytes."""
        info = self.info
        record: dict[str, Any] = {
            "name": self.path.name,
            "kind": info.kind,
            "codec": info.codec,
            "size": [info.width, info.height],
            "frame_rate": str(info.frame_rate),
            "pixel_format": info.pixel_format,
            "bit_depth": info.bit_depth,
            "color": info.color.describe(),
            "files": len(self.files),
            "sha256": sha256_of(self.files),
        }
        comment = info.metadata.get("comment") or info.metadata.get("COMMENT")
        return record | ({"comment": comment} if comment else {})


def eight_bits(frame: VideoFrame) -> ByteArray:
    """Return a frame as metrics take it: RGB without transparency, 16 bits rounded to 8."""
    return np.ascontiguousarray(to_8_bits(frame.pixels[..., :3]))


def sha256_of(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 of a file, in hexadecimal; of several files, that of their digests in order, one a line."""
    digests = [file_sha256(file) for file in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()
