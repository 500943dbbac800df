"""How much disk a job will take, before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from starvsr.errors import ResourceError
from starvsr.quantities import format_size

# bits per output pixel of ordinary material at the default quality: between film grain and cartoons
_BITS_PER_PIXEL = {"libx264": 0.15, "libx265": 0.12, "libsvtav1": 0.1, "libvpx-vp9": 0.1, "prores_ks": 5, "ffv1": 9}
_PNG_BITS_PER_PIXEL = 12.0
_DOUBT = 2  # the estimate may be this many times too high


def output_bytes(codec: str, width: int, height: int, num_frames: int) -> float:
    """Estimate the bytes of an output; ``codec`` is an encoder's name, or "images"."""
    return num_frames * width * height * _BITS_PER_PIXEL.get(codec, _PNG_BITS_PER_PIXEL) / 8


def check_disk(out: Path, expected: float, part: float, have: int) -> None:
    """Refuse a job that the disk cannot hold.

    Args:
        out: The output.
        expected: Estimated bytes of it.
        part: Estimated bytes of a part.
        have: Bytes of the job that are there already.

    Raises:
        ResourceError: Even half of what is expected does not fit.
    """
    # a part goes when the output that they are joined into holds it: one that is joined, one whose end is still on its
    # way
    need = expected + 2 * part
    free = shutil.disk_usage(out.resolve().parent).free
    if need / _DOUBT - have > free:
        raise ResourceError(
            f"{out}: about {format_size(max(need - have, 0))} of disk are needed (the output and two parts of it) and "
            f"{format_size(free)} are free: free some, or write to another disk"
        )
