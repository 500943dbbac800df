"""Measure a result against its ground truth: ``python examples/compare_two_clips.py truth.mp4 result.mp4``."""

from __future__ import annotations

import sys

from starvsr.errors import StarVsrError
from starvsr.metrics.evaluate import METRICS
from starvsr.video.codec_pass import read_clip


def main(truth: str, result: str) -> None:
    """Print the mean of every metric over the frames; 8 px are cut from each border."""
    gt, hq = read_clip(truth), read_clip(result)
    for name, metric in METRICS.items():
        print(f"{name:20s} {metric(gt, hq, 8).mean():.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except StarVsrError as error:
        sys.exit(f"error: {error}")
