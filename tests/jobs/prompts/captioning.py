"""A captioner that counts its calls, and a clip."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CAPTIONER = """
import pathlib, sys
calls, answer, *frames = sys.argv[1:]
with open(calls, "a") as file:
    print(len(frames), file=file)
assert all(open(frame, "rb").read(8) == bytes([137, 80, 78, 71, 13, 10, 26, 10]) for frame in frames)
print("loading", file=sys.stderr)
print(answer)
"""


class Captioner:
    """A command that answers the same each time and counts how often it is asked."""

    def __init__(self, folder: Path) -> None:
        self.script, self._calls = folder / "my captioner.py", folder / "calls"
        self.script.write_text(CAPTIONER)

    def command(self, answer: str = "a red barn in the snow") -> str:
        return shlex.join([sys.executable, "-I", str(self.script), str(self._calls), answer])

    @property
    def calls(self) -> list[int]:
        """Frames that it was given, each time."""
        return [int(line) for line in self._calls.read_text().split()] if self._calls.exists() else []


def film(folder: Path, num_frames: int = 3) -> Path:
    """A folder of numbered images; the place of a frame is told by its red."""
    folder.mkdir(parents=True)
    for index in range(num_frames):
        pixels = np.random.default_rng(index).integers(0, 255, (10, 12, 3), dtype=np.uint8)
        pixels[..., 0] = 5 * index
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    return folder
