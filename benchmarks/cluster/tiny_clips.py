"""Many tiny clips, some of them damaged, made by FFmpeg's program in one go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

SIDE, RATE, NUM_FRAMES = 16, 2, 2


def make_kinds(folder: Path, count: int) -> list[Path]:
    """Make ``count`` clips of 2 frames of 16x16, each with other frames.

    Args:
        folder: Where they go; made.
        count: How many.
    """
    import imageio_ffmpeg

    folder.mkdir(parents=True, exist_ok=True)
    source = f"testsrc=size={SIDE}x{SIDE}:rate={RATE}:duration={count * NUM_FRAMES // RATE},hue=h=17*n"
    words = ["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", "-g", str(NUM_FRAMES), "-f", "segment"]
    words += ["-segment_time", str(NUM_FRAMES // RATE), "-reset_timestamps", "1", str(folder / "kind_%03d.mp4")]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *words], check=True)
    kinds = sorted(folder.glob("kind_*.mp4"))[:count]
    assert len(kinds) == count
    return kinds


def make_manifest(
    folder: Path, kinds: list[Path], num_clips: int, damaged_each: int
) -> tuple[Path, dict[str, str], set[str]]:
    """Make clips with the content of the kinds, in turns, and the manifest of them.

    Args:
        folder: Where they go; made.
        kinds: What they hold.
        num_clips: All clips, the damaged ones included.
        damaged_each: Every clip of so many is damaged.

    Returns:
        The manifest; the kind of each output by its name; the outputs that are never going to be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind_of: dict[str, str] = {}
    damaged: set[str] = set()
    lines = []
    for number in range(num_clips):
        clip, output = folder / f"clip_{number:05}.mp4", f"{number // 1000:02}/clip_{number:05}.mp4"
        kind = kinds[number % len(kinds)]
        if number % damaged_each == damaged_each // 2:
            clip.write_bytes(kind.read_bytes()[:60])
            damaged.add(output)
        else:
            _place(kind, clip)
            kind_of[output] = kind.name
        lines.append(json.dumps({"input": clip.name, "output": output}))
    manifest = folder / "clips.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest, kind_of, damaged


def _place(kind: Path, clip: Path) -> None:
    try:
        os.link(kind, clip)
    except OSError:
        shutil.copyfile(kind, clip)
