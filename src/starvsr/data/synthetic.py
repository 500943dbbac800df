"""Sharp clips to learn from: cuts out of videos, and photos made to move.

Decoding happens once: every source is rescaled to where it is truly sharp, stored as a uint8 array under a
cache folder, and read through a memory map from then on. Nothing here degrades anything.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from starvsr.data.drawings import drawn_clip
from starvsr.data.folders import list_clips, list_media, passed_over
from starvsr.data.motion import (
    MotionRanges,
    camera_path,
    frame_indices,
    move_photo,
    moving_mask,
    resize_frame,
    resize_frames,
)
from starvsr.data.text_files import read_text
from starvsr.errors import DataError, InputError
from starvsr.video.codec_pass import hdr_transfer, read_clip
from starvsr.video.content import files_fingerprint
from starvsr.video.read.images import images_in, natural_key
from starvsr.video.suffixes import IMAGE_SUFFIXES

DRAWING = Path("(drawn)")
"""What stands for the file of a clip that is drawn; it has no caption."""


class FrameCache:
    """Decoded sources as uint8 arrays [T, H, W, 3] on disk, opened through memory maps.

    Args:
        folder: where the arrays go; made when missing. Entries are keyed by name and content of the source, so
            that data copied anew are not decoded anew.
        max_frames: how many frames of a video are used at most; each takes width * height * 3 bytes.
    """

    def __init__(self, folder: str | Path, max_frames: int = 240) -> None:
        self.folder = Path(folder)
        self.max_frames = max_frames
        self._open: dict[Path, np.ndarray] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the open maps behind when a copy goes to another process: each opens its own."""
        return {**self.__dict__, "_open": {}}

    def frames(self, path: Path, sharp_scale: float = 1.0) -> np.ndarray:
        """Return all frames of a video or a folder of images, or the one of a photo, rescaled by `sharp_scale`.

        Returns:
            uint8 [T, H, W, 3], read-only memory map.
        """
        if path not in self._open:
            target = self.folder / self._key(path, sharp_scale)
            if not target.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                partial = target.with_suffix(f".{os.getpid()}.npy")
                np.save(partial, _decode(path, sharp_scale, self.max_frames))
                partial.replace(target)
            self._open[path] = np.load(target, mmap_mode="r")
        return self._open[path]

    def _key(self, path: Path, sharp_scale: float) -> str:
        try:
            content = files_fingerprint(images_in(path) if path.is_dir() else [path], quick=True)["sha256"]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); put it back, or leave it out") from error
        text = f"{path.name}|{content}|{sharp_scale}|{self.max_frames}"
        return f"{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npy"


class SharpSource:
    """Draws sharp clips from folders of videos and photos.

    Args:
        video_folder: folder of sharp videos, or None.
        image_folder: folder of sharp photos, or None.
        cache_folder: where decoded frames are kept.
        manifest: CSV with columns `file` and `notes`; "sharp_scale X" in the notes of a video means that it
            is only sharp after rescaling by X. None for scale 1 everywhere.
        video_probability: share of clips cut from videos.
        drawn_probability: share of clips that are drawn (:mod:`starvsr.data.drawings`); the rest is as without it.
        motion: how things move.
        max_frames: how many frames of each video are used at most.
        captions: folder with `NAME.txt` for `NAME.mp4`; None looks beside the clip.

    ``notes`` lists what of the folders is skipped, a sentence for each.

    Raises:
        DataError: nothing usable in the folders, or no folder of captions where one is named.
    """

    def __init__(
        self,
        video_folder: str | Path | None,
        image_folder: str | Path | None,
        cache_folder: str | Path,
        *,
        manifest: str | Path | None = None,
        video_probability: float = 0.5,
        drawn_probability: float = 0.0,
        motion: MotionRanges | None = None,
        max_frames: int = 240,
        captions: str | Path | None = None,
    ) -> None:
        clips = list_clips(video_folder)
        self.videos = [path for path in clips if path.is_dir() or hdr_transfer(path) is None]
        self.images = list_media(image_folder, IMAGE_SUFFIXES)
        self.notes = [
            *passed_over(video_folder, self.videos, hdr=[path for path in clips if path not in self.videos]),
            *(passed_over(image_folder, self.images) if image_folder != video_folder else []),
        ]
        if not self.videos and not self.images:
            raise DataError(f"no videos in {video_folder} and no photos in {image_folder}; give folders with media")
        self.cache = FrameCache(cache_folder, max_frames)
        self.sharp_scales = read_sharp_scales(manifest) if manifest is not None else {}
        share = video_probability if self.images else 1.0
        self.video_probability = share if self.videos else 0.0
        self.drawn_probability = drawn_probability
        self.motion = motion or MotionRanges()
        self.captions = None if captions is None else Path(captions)
        if self.captions is not None and not self.captions.is_dir():
            raise DataError(f"{self.captions}: there is no such folder of captions; give one with NAME.txt for clips")

    def caption(self, path: Path) -> str:
        """Return the caption of a clip or photo, "" where there is none."""
        if path == DRAWING:
            return ""
        return read_caption((self.captions or path.parent) / f"{path.stem}.txt")

    def draw(self, rng: np.random.Generator, num_frames: int, size: int) -> np.ndarray:
        """Draw one sharp clip, uint8 [num_frames, size, size, 3]; the same state gives the same bytes."""
        return self.draw_named(rng, num_frames, size)[0]

    def draw_named(self, rng: np.random.Generator, num_frames: int, size: int) -> tuple[np.ndarray, Path]:
        """Draw a clip as :meth:`draw` does, with the name of its file, or that of what is drawn."""
        if self.drawn_probability and rng.random() < self.drawn_probability:
            return drawn_clip(rng, num_frames, size, self.motion), DRAWING
        if rng.random() < self.video_probability:
            return self._draw_video(rng, num_frames, size)
        return self._draw_photo(rng, num_frames, size)

    def prepare(self) -> None:
        """Decode the videos into the cache now: every draw needs their lengths. Photos wait until they are drawn."""
        for path in self.videos:
            self._frames(path)

    def _frames(self, path: Path) -> np.ndarray:
        return self.cache.frames(path, self.sharp_scales.get(path.name, 1.0))

    def _draw_video(self, rng: np.random.Generator, num_frames: int, size: int) -> tuple[np.ndarray, Path]:
        weights = np.array([math.sqrt(self._frames(path).shape[0]) for path in self.videos])
        path = self.videos[int(rng.choice(len(self.videos), p=weights / weights.sum()))]
        frames = self._frames(path)
        indices = frame_indices(rng, len(frames), num_frames, self.motion.step, self.motion.still_probability)
        height, width = frames.shape[1:3]
        limit = min(self.motion.video_reduction, min(height, width) / size)
        reduction = 1.0 if rng.random() < 0.5 or limit <= 1.0 else rng.uniform(1.0, limit)
        side = min(round(size * reduction), height, width)
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        window = frames[:, top : top + side, left : left + side]
        if side == size:
            return np.stack([window[index] for index in indices]), path
        return np.stack([resize_frame(window[index], size, size) for index in indices]), path

    def _draw_photo(self, rng: np.random.Generator, num_frames: int, size: int) -> tuple[np.ndarray, Path]:
        still = rng.random() < self.motion.still_probability
        back, path = self._moving_photo(rng, num_frames, size, still)
        if still or rng.random() >= self.motion.parallax_probability:
            return back, path
        front, _ = self._moving_photo(rng, num_frames, size, still=False)
        mask = moving_mask(rng, num_frames, size, self.motion)[..., None].astype(np.uint16)
        return ((front * mask + back * (255 - mask) + 127) // 255).astype(np.uint8), path

    def _moving_photo(
        self, rng: np.random.Generator, num_frames: int, size: int, still: bool
    ) -> tuple[np.ndarray, Path]:
        file = self.images[int(rng.integers(len(self.images)))]
        photo = self._frames(file)[0]
        height, width = photo.shape[:2]
        wanted = rng.uniform(*self.motion.photo_reduction)
        reduction = min(wanted, min(height, width) / (1.12 * size))
        reach = round(1.5 * size * reduction)  # only the part that the camera may see
        top, left = (int(rng.integers(0, max(side - reach, 0) + 1)) for side in (height, width))
        part = photo[top : top + reach, left : left + reach]
        path = camera_path(rng, num_frames, size, self.motion, still)
        return move_photo(part, path, (size, size), reduction), file


def read_images(folder: Path, num_frames: int | None = None) -> np.ndarray:
    """Read the images of a folder in the natural order of their names as one clip, uint8 [T, H, W, 3].

    Raises:
        DataError: they differ in size.
    """
    return np.stack(list(iter_images(folder, num_frames)))


def iter_images(folder: Path, num_frames: int | None = None) -> Iterator[np.ndarray]:
    """Read what :func:`read_images` does one image after another, uint8 [H, W, 3].

    Raises:
        DataError: there is none, or they differ in size.
    """
    shape: tuple[int, ...] | None = None
    for path in sorted(list_media(folder, IMAGE_SUFFIXES), key=natural_key)[:num_frames]:
        frame = _read_image(path)
        if shape not in (None, frame.shape):
            raise DataError(f"the images of {folder} differ in size; a folder of images must be one clip")
        shape = frame.shape
        yield frame
    if shape is None:
        raise DataError(f"there are no images in {folder}; a folder of images must be one clip")


def read_caption(path: Path) -> str:
    """Read a caption, in one line; "" when there is no such file.

    Raises:
        PromptError: it is not text in UTF-8, or too long.
    """
    return read_text(path) if path.is_file() else ""


def read_sharp_scales(manifest: str | Path) -> dict[str, float]:
    """Read {file name: sharp scale} from a CSV with columns `file` and `notes`; others are left out.

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


def _decode(path: Path, sharp_scale: float, max_frames: int) -> np.ndarray:
    if path.is_dir():
        frames = read_images(path, max_frames)
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        frames = _read_image(path)[None]
    else:
        frames = read_clip(path, num_frames=max_frames)
    return resize_frames(frames, sharp_scale)


def _read_image(path: Path) -> np.ndarray:
    """Read a photo, uint8 [H, W, 3]; what Pillow does not know, FFmpeg may.

    Raises:
        DataError: neither can read it.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        try:
            return read_clip(path, num_frames=1)[0]
        except InputError as error:
            raise DataError(f"{path}: cannot be read as a photo; remove it, or convert it to PNG") from error
