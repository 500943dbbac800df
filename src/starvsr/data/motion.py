"""Motion for still photos: camera paths, frames along them, silhouettes that pass in front.

Everything is drawn from a given generator; frames are uint8 RGB arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_OVERSAMPLING = 1.6
"""Photos are enlarged by this before they move, so that interpolation takes nothing from the picture."""


@dataclass(frozen=True)
class MotionRanges:
    """How photos move and videos are cut.

    Attributes:
        pan_px: largest speed of the camera, GT pixels a frame (drawn evenly in the logarithm from 0.2 on).
        zoom: largest relative change of size a frame.
        rotation: largest rotation a frame, in radians.
        shake_px: standard deviation of hand shake, GT pixels.
        photo_reduction: range of photo pixels per GT pixel.
        still_probability: clips without any motion.
        parallax_probability: photo clips with a cut-out of a second photo moving in front.
        video_reduction: largest rescaling of videos; half of the cuts are at full size.
        step: largest distance between the frames taken from videos.
    """

    pan_px: float = 10.0
    zoom: float = 0.008
    rotation: float = 0.008
    shake_px: float = 0.6
    photo_reduction: tuple[float, float] = (1.0, 1.4)
    still_probability: float = 0.06
    parallax_probability: float = 0.3
    video_reduction: float = 2.0
    step: int = 2


def frame_indices(
    rng: np.random.Generator, total: int, num_frames: int, max_step: int, still_probability: float
) -> list[int]:
    """Draw which frames make a clip: a random start, one step, played back and forth where too short."""
    if rng.random() < still_probability or total == 1:
        return [int(rng.integers(total))] * num_frames
    step = int(rng.integers(1, max_step + 1))
    if (num_frames - 1) * step >= total:
        step = 1
    start = int(rng.integers(0, max(total - (num_frames - 1) * step, 1)))
    period = 2 * (total - 1)
    positions = ((start + step * index) % period for index in range(num_frames))
    return [position if position < total else period - position for position in positions]


def camera_path(
    rng: np.random.Generator, num_frames: int, size: int, motion: MotionRanges, still: bool = False
) -> np.ndarray:
    """Draw a smooth camera path.

    Returns:
        float64 [T, 4]: shift x, shift y (GT pixels), log zoom, rotation (radians); zero in the middle frame.
    """
    if still:
        return np.zeros((num_frames, 4))
    time = np.arange(num_frames) - num_frames // 2
    speed = min(math.exp(rng.uniform(math.log(0.2), math.log(motion.pan_px))), 0.25 * size / num_frames)
    heading = rng.uniform(-math.pi, math.pi)
    bend = rng.uniform(-0.5, 0.5) / num_frames
    strength = rng.random(2) ** 2 * rng.choice((-1, 1), 2)
    ease = time + bend * time * np.abs(time)
    shake = np.cumsum(rng.normal(0, 1, (num_frames, 2)), axis=0) * (motion.shake_px * rng.random() ** 2)
    path = np.empty((num_frames, 4))
    path[:, 0] = speed * math.cos(heading) * ease + shake[:, 0]
    path[:, 1] = speed * math.sin(heading) * ease + shake[:, 1]
    path[:, 2] = strength[0] * motion.zoom * ease
    path[:, 3] = strength[1] * motion.rotation * ease
    return path


def move_photo(photo: np.ndarray, path: np.ndarray, size: tuple[int, int], reduction: float) -> np.ndarray:
    """Film a photo with a moving camera.

    The photo is first brought to GT density with an antialiasing filter, then enlarged once; every frame is
    sampled from the enlargement, so that frames are as sharp between pixels as on them.

    Args:
        photo: uint8 [H, W, 3].
        path: camera path, see `camera_path`; reflected where it leaves the photo.
        size: (height, width) of the frames.
        reduction: photo pixels per GT pixel, at least 1 for sharp frames.

    Returns:
        uint8 [T, height, width, 3].
    """
    height, width = (max(round(side / reduction), 2) for side in photo.shape[:2])
    reduced = resize_frame(photo, height, width) if reduction != 1.0 else photo
    margin = min(max(size) // 4, height - 1, width - 1)
    reduced = np.pad(reduced, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    large_height, large_width = (round(side * _OVERSAMPLING) for side in reduced.shape[:2])
    image = Image.fromarray(resize_frame(reduced, large_height, large_width))
    frames = []
    for shift_x, shift_y, log_zoom, angle in path:
        matrix = _camera_matrix(shift_x, shift_y, math.exp(-log_zoom), angle, size, image.size)
        frame = image.transform((size[1], size[0]), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        frames.append(np.asarray(frame))
    return np.stack(frames)


def moving_mask(rng: np.random.Generator, num_frames: int, size: int, motion: MotionRanges) -> np.ndarray:
    """Draw the silhouette of something in front, with its own path; uint8 [T, size, size]."""
    oversampled = 2 * size
    corners = int(rng.integers(5, 12))
    angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
    radii = rng.uniform(0.12, 0.4, corners) * oversampled
    centre = rng.uniform(0.2, 0.8, 2) * oversampled
    path = camera_path(rng, num_frames, size, motion)
    softness = rng.uniform(0.5, 3.0)
    frames = []
    for shift_x, shift_y, _, turn in path:
        image = Image.new("L", (oversampled, oversampled))
        x = centre[0] - 2 * shift_x + radii * np.cos(angles + turn)
        y = centre[1] - 2 * shift_y + radii * np.sin(angles + turn)
        ImageDraw.Draw(image).polygon([(float(u), float(v)) for u, v in zip(x, y, strict=True)], fill=255)
        image = image.filter(ImageFilter.GaussianBlur(softness)).resize((size, size), Image.Resampling.BOX)
        frames.append(np.asarray(image))
    return np.stack(frames)


def resize_frames(frames: np.ndarray, factor: float) -> np.ndarray:
    """Rescale uint8 [T, H, W, 3] by a factor with an antialiasing filter; 1 gives the frames back."""
    if factor == 1.0:
        return frames
    height, width = (max(round(side * factor), 1) for side in frames.shape[1:3])
    return np.stack([resize_frame(frame, height, width) for frame in frames])


def resize_frame(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] with a filter that neither aliases nor softens more than it must."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _camera_matrix(
    shift_x: float, shift_y: float, zoom: float, angle: float, size: tuple[int, int], image_size: tuple[int, int]
) -> tuple[float, ...]:
    """Affine coefficients that take frame pixels to pixels of the enlarged photo."""
    a = _OVERSAMPLING * zoom * math.cos(angle)
    b = -_OVERSAMPLING * zoom * math.sin(angle)
    centre_x = image_size[0] / 2 + _OVERSAMPLING * shift_x
    centre_y = image_size[1] / 2 + _OVERSAMPLING * shift_y
    half_height, half_width = size[0] / 2, size[1] / 2
    return (
        a,
        b,
        centre_x - a * half_width - b * half_height,
        -b,
        a,
        centre_y + b * half_width - a * half_height,
    )
