"""Make a small low-quality clip with sound to try things on: ``python examples/make_sample_clip.py clip.mp4``."""

from __future__ import annotations

import sys

from starvsr.data.sample import make_sample_clip
from starvsr.errors import StarVsrError


def main(path: str) -> None:
    """Write the clip and say where."""
    print(f"Sample clip: {make_sample_clip(path)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "sample.mp4")
    except StarVsrError as error:
        sys.exit(f"error: {error}")
