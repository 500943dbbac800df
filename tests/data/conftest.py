from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.video.codec_pass import write_lossless


def textured(height: int, width: int, shift: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width].astype(float)
    x = columns + shift
    planes = [np.sin(rows / 5), np.sin(x / 7), np.sin(rows / 3) * np.sin(x / 4)]
    return np.stack([127.5 + 100 * plane for plane in planes], axis=-1).round().astype(np.uint8)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `video` (one clip of 12 frames, one of 3, one file of text) and `image` (two photos)."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("video", "image"):
        (folder / name).mkdir()
    frames = np.stack([textured(96, 128, 3.0 * index) for index in range(12)])
    write_lossless(folder / "video" / "long.mkv", frames, 24)
    write_lossless(folder / "video" / "short.mkv", frames[:3, :80, :100], 30)
    (folder / "video" / "notes.txt").write_text("not a video")
    for name in ("a", "b"):
        Image.fromarray(textured(120, 140, ord(name))).save(folder / "image" / f"{name}.png")
    (folder / "manifest.csv").write_text("file,notes\nvideo/long.mkv,x; sharp_scale 0.75 y\nvideo/short.mkv,\n")
    return folder
