"""Upscale a video from Python, with progress: ``python examples/upscale_from_python.py in.mp4 out.mp4``."""

from __future__ import annotations

import sys

import starvsr


def show(progress: starvsr.Progress) -> None:
    """Rewrite one line with the number of frames done."""
    total = "?" if progress.num_frames is None else progress.num_frames
    print(f"\r{progress.num_done} of {total} frames", end="", file=sys.stderr)


def main(path: str, out: str, model: str = "star-small") -> None:
    """Upscale four times and say what was written."""
    result = starvsr.upscale(path, out, model=model, overwrite=True, on_progress=show)
    print(f"\n{result.output}: {result.num_frames} frames of {result.width}x{result.height}")
    for note in result.notes:
        print(f"note: {note}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:4])
    except starvsr.StarVsrError as error:
        sys.exit(f"error: {error}")
