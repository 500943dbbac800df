"""Count how many files of the package a reader meets on the way of one job.

    python -m benchmarks.structure

Traces Python calls while a 64x48 clip goes through star-small, loaded before: files entered by ``prepare``, files
entered by the whole job, and files called for each frame, which are those with a function whose number of calls grows
at least as fast as the number of frames.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import starvsr
from starvsr.video import VideoWriter

PACKAGE = Path(starvsr.__file__).parent
FEWER, MORE = 24, 48
Calls = Counter[tuple[str, str]]


def trace(work: Callable[[], Any]) -> tuple[Calls, Any]:
    """Count the calls of functions of the package, in all threads, while ``work`` runs."""
    calls: Calls = Counter()
    prefix = f"{PACKAGE}/"

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(prefix) and frame.f_code.co_name != "<module>":
            calls[name[len(prefix) :], frame.f_code.co_qualname if sys.version_info >= (3, 11) else ""] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls, result


def write_clip(path: Path, num_frames: int) -> Path:
    """Write a clip of moving noise, 64x48."""
    texture = np.random.default_rng(0).integers(0, 256, (48, 200, 3), np.uint8)
    with VideoWriter(path, source=None, width=64, height=48) as writer:
        for index in range(num_frames):
            writer.write(np.ascontiguousarray(texture[:, index : index + 64]), index, 1)
    return path


def files_of(calls: Calls) -> set[str]:
    """Return the files that were entered."""
    return {file for file, _ in calls}


def per_frame(fewer: Calls, more: Calls) -> set[str]:
    """Return the files with a function that is called once more for each further frame."""
    return {file for (file, name), count in more.items() if count - fewer[file, name] >= MORE - FEWER}


def asked_attributes() -> list[str]:
    """Return the places where the source looks for an attribute of a model by its name."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for number, line in enumerate(path.read_text().split("\n"), 1):
            if re.search(r"(hasattr|getattr)\((self\.)?(_?job\.)?_?(upscaler|model|session)\b", line):
                found.append(f"{path.relative_to(PACKAGE)}:{number}")
    return found


def main() -> None:
    """Print the counts."""
    model = starvsr.load_upscaler("star-small", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = []
        for count in (FEWER, MORE):
            clip, out = write_clip(folder / f"{count}.mkv", count), folder / f"{count}_x4.mp4"
            runs.append(trace(partial(starvsr.upscale, clip, out, upscaler=model, threads=1))[0])
        first = folder / f"{FEWER}.mkv"
        prepared, _ = trace(lambda: starvsr.prepare(first, folder / "p.mp4", upscaler=model))
    print(f"files of the package: {len(list(PACKAGE.rglob('*.py')))}")
    print(f"files entered by a job: {len(files_of(runs[1]))}")
    print(f"files entered by prepare: {len(files_of(prepared))}")
    each = per_frame(*runs)
    print(f"files called for each frame: {len(each)}")
    for file in sorted(each):
        print(f"  {file}")
    print(f"attributes of a model asked for by name: {asked_attributes() or 'none'}")


if __name__ == "__main__":
    main()
