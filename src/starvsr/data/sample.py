"""A small low-quality clip with sound, for trying things out without looking for a video.

The pictures are photos that come inside scikit-image (public domain and CC0), filmed with a moving camera,
cut together, and degraded with our own recipe; the sound is a made chord. Needs the `demo` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from starvsr.data.motion import MotionRanges, camera_path, move_photo
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.recipe import degrade_clip
from starvsr.errors import OptionError, OutputNotWritableError
from starvsr.video.codec_pass import write_clip

PHOTOS = {"astronaut": 0.27, "chelsea": 0.5, "coffee": 0.5, "rocket": 0.5}
"""Photos in the wheel of scikit-image that may be shown by anyone (NASA public domain, the others CC0),
with the height of what one looks at, 0 for the top and 1 for the bottom."""

_SCALE = 2  # the photos are small: twice the clip's size is as sharp as they get
_SAMPLE_RATE = 48000
_CHORD_HZ = (220.0, 277.18, 329.63, 440.0)
_CALM = MotionRanges(pan_px=6.0, zoom=0.004, rotation=0.002, shake_px=0.3)


def make_sample_clip(
    out_path: str | Path,
    *,
    seed: int = 0,
    width: int = 320,
    height: int = 180,
    num_frames: int = 48,
    frame_rate: int = 24,
    preset: str = "light",
    photos: Sequence[str] = ("coffee", "astronaut"),
) -> Path:
    """Write a degraded clip with one shot a photo, hard cuts between them, and sound.

    Args:
        out_path: target, by habit an .mp4; replaced when there.
        seed: seed of camera and degradation; the same seed gives the same frames.
        width: width of the clip in pixels, even.
        height: height of the clip in pixels, even.
        num_frames: frames of the clip, spread evenly over the shots.
        frame_rate: frames per second.
        preset: degradation preset.
        photos: names from `PHOTOS`, one a shot.

    Returns:
        The path written.

    Raises:
        OptionError: scikit-image is missing, an unknown photo, odd sides, or fewer frames than shots.
        OutputNotWritableError: the folder does not exist.
    """
    target = Path(out_path)
    if width % 2 or height % 2 or min(width, height) < 16 or not 0 < len(photos) <= num_frames:
        raise OptionError(
            f"cannot make {num_frames} frames of {width}x{height} with {len(photos)} shots; "
            "use even sides of at least 16 and one frame or more a shot"
        )
    if not target.parent.is_dir():
        raise OutputNotWritableError(f"there is no folder {target.parent}; make it first")
    rng = np.random.default_rng(seed)
    lengths = [len(part) for part in np.array_split(np.arange(num_frames), len(photos))]
    size = (height * _SCALE, width * _SCALE)
    shots = [_film(_photo(name), PHOTOS[name], rng, length, size) for name, length in zip(photos, lengths, strict=True)]
    sharp = torch.from_numpy(np.concatenate(shots)).permute(0, 3, 1, 2)
    lq = to_bytes(degrade_clip(sharp, preset, rng, _SCALE))
    write_clip(target, lq, frame_rate, sound=chord(num_frames / frame_rate), sample_rate=_SAMPLE_RATE)
    return target


def chord(duration_s: float, sample_rate: int = _SAMPLE_RATE) -> np.ndarray:
    """Make a soft chord that swells and fades, float32 [2, N] in [-0.2, 0.2]."""
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    swell = np.sin(np.pi * np.clip(time / max(duration_s, 1e-9), 0, 1)) ** 0.5
    tones = [np.sin(2 * np.pi * pitch * time) for pitch in _CHORD_HZ]
    left = np.mean(tones, axis=0) * swell
    right = np.mean(tones[::-1][:3], axis=0) * swell
    return (0.2 * np.stack([left, right])).astype(np.float32)


def _photo(name: str) -> np.ndarray:
    if name not in PHOTOS:
        raise OptionError(f"unknown photo {name!r}; use one of {', '.join(PHOTOS)}")
    try:
        import skimage.data
    except ImportError as error:
        raise OptionError("the sample clip needs scikit-image; install it: pip install 'starvsr[demo]'") from error
    return np.asarray(getattr(skimage.data, name)())


def _film(
    photo: np.ndarray, focus: float, rng: np.random.Generator, num_frames: int, size: tuple[int, int]
) -> np.ndarray:
    """Film the part of a photo around its focus, uint8 [T, height, width, 3]."""
    path = camera_path(rng, num_frames, min(size), _CALM)
    reduction = min(photo.shape[0] / (1.1 * size[0]), photo.shape[1] / (1.1 * size[1]))
    reach = min(round(1.1 * size[0] * reduction), photo.shape[0])
    top = round(min(max(focus * photo.shape[0] - reach / 2, 0), photo.shape[0] - reach))
    return move_photo(photo[top : top + reach], path, size, reduction)
