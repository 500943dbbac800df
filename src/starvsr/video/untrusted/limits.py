"""How much an input may ask for: far beyond what honest files do, far below what harms a machine."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from starvsr.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """What is refused in an input. Each number can be raised by the flag of its name (``--max-pixels``).

    Attributes:
        max_pixels: Pixels of a picture. The default is a little more than 16K (15360x8640).
        max_frames: Frames of the video, as promised or as read; also entries of an index.
        max_duration: Seconds from the first frame to the last.
        max_streams: Streams of a container.
        max_metadata: Bytes of all tags of a file, its streams and its chapters.
        max_attachments: Bytes of all attachments.
        max_stall: Seconds of work by the decoder without a frame coming out.
        decoder_memory: Bytes that a decoder in a process of its own may take (`starvsr.video.untrusted.isolation`).
    """

    max_pixels: int = 1 << 27
    max_frames: int = 10_000_000
    max_duration: Fraction = Fraction(3_600_000)
    max_streams: int = 256
    max_metadata: int = 16 << 20
    max_attachments: int = 512 << 20
    max_stall: Fraction = Fraction(120)
    decoder_memory: int = 8 << 30

    def check_size(self, path: Path, width: int, height: int) -> None:
        """Refuse pictures that are too large.

        Raises:
            LimitError: More than ``max_pixels``.
        """
        if width * height > self.max_pixels:
            self.refuse(path, f"pictures of {width}x{height} pixels", "max_pixels")

    def refuse(self, path: Path, what: str, name: str) -> NoReturn:
        """Raise the error that names the limit and the flag that raises it.

        Args:
            path: The input.
            what: What it holds that is too much.
            name: The attribute that is exceeded.
        """
        flag, limit = "--" + name.replace("_", "-"), plain(getattr(self, name))
        raise LimitError(f"{path}: {what}, more than the limit of {limit}; if the file can be trusted, raise {flag}")


def plain(value: int | Fraction) -> str:
    """Write a limit without loss: whole numbers as such."""
    return str(int(value)) if value == int(value) else str(float(value))


DEFAULT_LIMITS = Limits()
OWN_FILES = Limits(
    max_pixels=2**62,
    max_frames=2**62,
    max_duration=Fraction(2**62),
    max_streams=10_000,
    max_metadata=2**62,
    max_attachments=2**62,
    max_stall=Fraction(2**62),
)
"""For what this program wrote itself: outputs are larger than inputs may be."""
