"""Sharp clips to learn from: cuts out of videos, and photos made to move.

Decoding happens once: every source is rescaled to where it is truly sharp, stored as a uint8 array under a cache
folder, and read through a memory map from then on. Nothing here degrades anything.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from starvsr.errors import DataError
from starvsr.video.codec_pass import hdr_transfer, read_clip

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mts"})
IMAGE_SUFFIXES = frozenset({".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
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


class FrameCache:
    """Decoded sources as uint8 arrays [T, H, W, 3] on disk, opened through memory maps.

    Args:
        folder: where the arrays go; made when missing. Entries are keyed by name, size and time of the source.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._open: dict[Path, np.ndarray] = {}

    def frames(self, path: Path, sharp_scale: float = 1.0) -> np.ndarray:
        """Return all frames of a video or the one frame of a photo, rescaled by `sharp_scale`.

        Returns:
            uint8 [T, H, W, 3], read-only memory map.
        """
        if path not in self._open:
            target = self.folder / self._key(path, sharp_scale)
            if not target.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                partial = target.with_suffix(f".{os.getpid()}.npy")
                np.save(partial, _decode(path, sharp_scale))
                partial.replace(target)
            self._open[path] = np.load(target, mmap_mode="r")
        return self._open[path]

    @staticmethod
    def _key(path: Path, sharp_scale: float) -> str:
        status = path.stat()
        text = f"{path.name}|{status.st_size}|{status.st_mtime_ns}|{sharp_scale}"
        return f"{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npy"


class SharpSource:
    """Draws sharp clips from folders of videos and photos.

    Args:
        video_folder: folder of sharp videos, or None.
        image_folder: folder of sharp photos, or None.
        cache_folder: where decoded frames are kept.
        manifest: CSV with columns `file` and `notes`; "sharp_scale X" in the notes of a video means that it is only
            sharp after rescaling by X. None for scale 1 everywhere.
        video_probability: share of clips cut from videos.
        motion: how things move.

    Raises:
        DataError: nothing usable in the folders.
    """

    def __init__(
        self,
        video_folder: str | Path | None,
        image_folder: str | Path | None,
        cache_folder: str | Path,
        *,
        manifest: str | Path | None = None,
        video_probability: float = 0.5,
        motion: MotionRanges | None = None,
    ) -> None:
        self.videos = [path for path in list_media(video_folder, VIDEO_SUFFIXES) if hdr_transfer(path) is None]
        self.images = list_media(image_folder, IMAGE_SUFFIXES)
        if not self.videos and not self.images:
            raise DataError(f"no videos in {video_folder} and no photos in {image_folder}; give folders with media")
        self.cache = FrameCache(cache_folder)
        self.sharp_scales = read_sharp_scales(manifest) if manifest is not None else {}
        share = video_probability if self.images else 1.0
        self.video_probability = share if self.videos else 0.0
        self.motion = motion or MotionRanges()

    def draw(self, rng: np.random.Generator, num_frames: int, size: int) -> np.ndarray:
        """Draw one sharp clip, uint8 [num_frames, size, size, 3]; the same generator state gives the same bytes."""
        if rng.random() < self.video_probability:
            return self._draw_video(rng, num_frames, size)
        return self._draw_photo(rng, num_frames, size)

    def prepare(self) -> None:
        """Decode everything into the cache now, so that the first draws are not slow."""
        for path in (*self.videos, *self.images):
            self._frames(path)

    def _frames(self, path: Path) -> np.ndarray:
        return self.cache.frames(path, self.sharp_scales.get(path.name, 1.0))

    def _draw_video(self, rng: np.random.Generator, num_frames: int, size: int) -> np.ndarray:
        weights = np.array([math.sqrt(self._frames(path).shape[0]) for path in self.videos])
        frames = self._frames(self.videos[int(rng.choice(len(self.videos), p=weights / weights.sum()))])
        indices = frame_indices(rng, len(frames), num_frames, self.motion.step, self.motion.still_probability)
        height, width = frames.shape[1:3]
        limit = min(self.motion.video_reduction, min(height, width) / size)
        reduction = 1.0 if rng.random() < 0.5 or limit <= 1.0 else rng.uniform(1.0, limit)
        side = min(round(size * reduction), height, width)
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        window = frames[:, top : top + side, left : left + side]
        if side == size:
            return np.stack([window[index] for index in indices])
        return np.stack([_resized(window[index], size, size) for index in indices])

    def _draw_photo(self, rng: np.random.Generator, num_frames: int, size: int) -> np.ndarray:
        still = rng.random() < self.motion.still_probability
        back = self._moving_photo(rng, num_frames, size, still)
        if still or rng.random() >= self.motion.parallax_probability:
            return back
        front = self._moving_photo(rng, num_frames, size, still=False)
        mask = _moving_mask(rng, num_frames, size, self.motion)[..., None].astype(np.uint16)
        return ((front * mask + back * (255 - mask) + 127) // 255).astype(np.uint8)

    def _moving_photo(self, rng: np.random.Generator, num_frames: int, size: int, still: bool) -> np.ndarray:
        photo = self._frames(self.images[int(rng.integers(len(self.images)))])[0]
        height, width = photo.shape[:2]
        wanted = rng.uniform(*self.motion.photo_reduction)
        reduction = min(wanted, min(height, width) / (1.12 * size))
        reach = round(1.5 * size * reduction)  # only the part that the camera may see
        top, left = (int(rng.integers(0, max(side - reach, 0) + 1)) for side in (height, width))
        part = photo[top : top + reach, left : left + reach]
        path = camera_path(rng, num_frames, size, self.motion, still)
        return move_photo(part, path, (size, size), reduction)


def list_media(folder: str | Path | None, suffixes: frozenset[str]) -> list[Path]:
    """List the files of a folder with these suffixes, sorted by name; [] for None.

    Raises:
        DataError: the folder does not exist.
    """
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise DataError(f"there is no folder {folder}; check the path of the training data")
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)


def read_sharp_scales(manifest: str | Path) -> dict[str, float]:
    """Read {file name: sharp scale} from a CSV with columns `file` and `notes`; files without a note are left out.

    Raises:
        DataError: the file cannot be read or lacks the columns.
    """
    try:
        with open(manifest, newline="", encoding="utf-8") as lines:
            rows = [(row["file"], row["notes"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError) as error:
        raise DataError(f"{manifest} is no manifest with columns file and notes ({error!r})") from error
    found = ((Path(name).name, re.search(r"sharp_scale ([0-9.]+)", notes or "")) for name, notes in rows)
    return {name: float(match.group(1)) for name, match in found if match}


def frame_indices(
    rng: np.random.Generator, total: int, num_frames: int, max_step: int, still_probability: float
) -> list[int]:
    """Draw which frames make a clip: a random start, one step for all, played back and forth where too short."""
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
    reduced = _resized(photo, height, width) if reduction != 1.0 else photo
    margin = min(max(size) // 4, height - 1, width - 1)
    reduced = np.pad(reduced, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    large_height, large_width = (round(side * _OVERSAMPLING) for side in reduced.shape[:2])
    image = Image.fromarray(_resized(reduced, large_height, large_width))
    frames = []
    for shift_x, shift_y, log_zoom, angle in path:
        matrix = _camera_matrix(shift_x, shift_y, math.exp(-log_zoom), angle, size, image.size)
        frame = image.transform(
            (size[1], size[0]), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
        frames.append(np.asarray(frame))
    return np.stack(frames)


def resize_frames(frames: np.ndarray, factor: float) -> np.ndarray:
    """Rescale uint8 [T, H, W, 3] by a factor with an antialiasing filter; 1 gives the frames back."""
    if factor == 1.0:
        return frames
    height, width = (max(round(side * factor), 1) for side in frames.shape[1:3])
    return np.stack([_resized(frame, height, width) for frame in frames])


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


def _moving_mask(rng: np.random.Generator, num_frames: int, size: int, motion: MotionRanges) -> np.ndarray:
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


def _decode(path: Path, sharp_scale: float) -> np.ndarray:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        with Image.open(path) as image:
            frames = np.asarray(image.convert("RGB"))[None]
    else:
        frames = read_clip(path)
    return resize_frames(frames, sharp_scale)


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] with a filter that neither aliases nor softens more than it must."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
