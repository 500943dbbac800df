"""Clips for tests of the evaluation, made by FFmpeg's own program and Pillow."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "bgr0")


def scene(height: int = 112, width: int = 144, seed: int = 7) -> np.ndarray:
    """Return a picture with structure at all scales, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, weight in ((3, 60), (7, 40), (17, 25), (41, 12)):
        small = rng.uniform(-1, 1, (cells, cells, 3))
        for channel in range(3):
            plane = Image.fromarray(small[..., channel].astype(np.float32))
            total[..., channel] += weight * np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
    return (128 + total).clip(0, 255).astype(np.uint8)


def moving(
    count: int = 6, height: int = 64, width: int = 96, step: tuple[int, int] = (3, 2), seed: int = 7
) -> np.ndarray:
    """Return frames of a camera that moves by (x, y) pixels a frame, uint8 [count, height, width, 3]."""
    x, y = step
    whole = scene(height + abs(y) * (count + 4) + 8, width + abs(x) * (count + 4) + 8, seed)
    return np.stack([whole[4 + t * y :, 4 + t * x :][:height, :width] for t in range(count)])


def zoomed(count: int = 6, height: int = 64, width: int = 96, seed: int = 7) -> np.ndarray:
    """Return frames of a camera that draws near, which no shift explains."""
    picture = Image.fromarray(scene(2 * height, 2 * width, seed))
    frames = []
    for t in range(count):
        w, h = width * (1 - 0.05 * t), height * (1 - 0.05 * t)
        box = (width - w, height - h, width + w, height + h)
        frames.append(np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box)))
    return np.stack(frames)


def blurred(frames: np.ndarray) -> np.ndarray:
    """Return what bicubic interpolation makes of frames made four times smaller."""
    height, width = frames.shape[1:3]
    size = (width // 4, height // 4)
    small = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(one.resize((width, height), Image.Resampling.BICUBIC)) for one in small])


def film(path: Path, frames: np.ndarray, *words: str, rate: str = "25", codec: Sequence[str] = LOSSLESS) -> Path:
    """Encode frames by FFmpeg's program, in RGB without loss if not told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    kind = "rgb48le" if frames.dtype == np.uint16 else "rgb24"
    raw = ("-f", "rawvideo", "-pix_fmt", kind, "-s", f"{width}x{height}", "-r", rate, "-i", "-")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *raw, *codec, *words, str(path)]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return path


def pictures(folder: Path, frames: np.ndarray, name: str = "{:04d}.png") -> Path:
    """Write frames as numbered images."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(index))
    return folder
