"""Animated WebP, which FFmpeg cannot decode and Pillow can. Sizes and times are read from the file itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from starvsr.errors import CorruptFrameError, UnreadableInputError
from starvsr.video.convert import Frame
from starvsr.video.info import VideoInfo
from starvsr.video.read.animations import num_plays
from starvsr.video.read.opening import reason
from starvsr.video.read.photo_data import read_photo
from starvsr.video.untrusted.limits import Limits

_ALPHA_SCAN_PIXELS = 1 << 31
_ALPHA_SCAN_LIMIT = 500
_UNTIMED = 40  # milliseconds of a frame that says 0
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, MemoryError)


def is_animated_webp(path: Path) -> bool:
    """Whether the file is a WebP with the animation flag."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return False
    is_extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20
    return is_extended and bool(head[20] & 0x02)


def probe_webp(path: Path, limits: Limits) -> VideoInfo:
    """Look at an animated WebP.

    Raises:
        UnreadableInputError: It is damaged.
        LimitError: Its canvas is too large, or it has too many frames.
    """
    from PIL import Image

    with path.open("rb") as file:
        width, height, durations = _read_chunks(file, limits.max_frames + 1)
    limits.check_size(path, width, height)
    if len(durations) > limits.max_frames:
        limits.refuse(path, f"{len(durations)} frames or more", "max_frames")
    try:
        opened: Any = Image.open(path)
        with opened as image:
            if image.n_frames != len(durations) or image.size != (width, height):
                raise ValueError("its frames and its header do not fit each other")
            has_alpha = _has_alpha(image)
    except _DAMAGED as error:
        raise UnreadableInputError(f"{path}: damaged WebP ({reason(error)}); get the whole file") from None
    total = Fraction(sum(durations), 1000)
    return VideoInfo(
        path=path,
        kind="animation",
        container="webp",
        codec="webp",
        width=width,
        height=height,
        coded_width=width,
        coded_height=height,
        frame_rate=len(durations) / total,
        time_base=Fraction(1, 1000),
        num_frames=len(durations),
        duration=total,
        pixel_format="rgba" if has_alpha else "rgb24",
        has_alpha=has_alpha,
        photo=read_photo(path, limits.max_metadata),
        num_plays=num_plays(path),
        limits=limits,
    )


def webp_frames(info: VideoInfo, on_corrupt: str) -> Iterator[tuple[Frame, int]]:
    """Yield each frame, uint8 [H, W, 3 or 4], and its length in milliseconds.

    Raises:
        CorruptFrameError: A frame is damaged and ``on_corrupt`` is ``error``; else reading ends there.
    """
    from PIL import Image

    with Image.open(info.path) as image:
        for index in range(info.num_frames or 0):
            try:
                image.seek(index)
                pixels = np.asarray(image.convert("RGBA" if info.has_alpha else "RGB"))
            except _DAMAGED as error:
                if on_corrupt == "error":
                    raise CorruptFrameError(
                        f"{info.path}: frame {index} cannot be decoded ({reason(error)}); get another copy, or go on"
                        " with on-corrupt=skip"
                    ) from None
                return
            yield pixels, int(image.info.get("duration", _UNTIMED)) or _UNTIMED


def _read_chunks(file: BinaryIO, most: int) -> tuple[int, int, list[int]]:
    """Return (width, height, length of each frame in milliseconds), up to ``most`` frames."""
    head = file.read(30)
    width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
    place = 20 + struct.unpack("<I", head[16:20])[0]
    durations: list[int] = []
    while len(durations) < most:
        file.seek(place + place % 2)
        place += place % 2
        chunk = file.read(8 + 16)
        if len(chunk) < 8:
            break
        size = struct.unpack("<I", chunk[4:8])[0]
        if chunk[:4] == b"ANMF":
            durations.append(int.from_bytes(chunk[20:23], "little") or _UNTIMED)
        place += 8 + size
    return width, height, durations


def _has_alpha(image: Any) -> bool:
    """Whether a pixel of the first frames is not opaque; past a budget of pixels what the file says counts."""
    most = max(1, min(_ALPHA_SCAN_LIMIT, _ALPHA_SCAN_PIXELS // (image.size[0] * image.size[1])))
    for index in range(min(most, image.n_frames)):
        image.seek(index)
        image.load()
        if image.mode == "RGBA" and image.getextrema()[3][0] < 255:
            return True
    return bool(image.mode == "RGBA" and most < min(_ALPHA_SCAN_LIMIT, image.n_frames))
