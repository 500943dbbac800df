"""Measure a result against its ground truth: ``python examples/compare_two_clips.py truth.mp4 result.mp4``.

Clips of any length: both are read once, a frame at a time.
"""

from __future__ import annotations

import sys
from pathlib import Path

from starvsr.data.clip_file import ClipFile
from starvsr.errors import StarVsrError
from starvsr.metrics.evaluate import measure
from starvsr.metrics.metric import mean


def main(truth: str, result: str) -> None:
    """Print the mean of every metric over the frames; 8 px are cut from each border."""
    values = measure(ClipFile(Path(result)), ClipFile(Path(truth)), crop_px=8)
    for name, frames in values.items():
        print(f"{name:20s} {mean(frames):.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except StarVsrError as error:
        sys.exit(f"error: {error}")
