"""Folders of images and numbered patterns (``frame_%05d.png``) as input: which files, in which order, decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from starvsr.errors import CorruptFrameError, InputNotFoundError, UnreadableInputError
from starvsr.video.info import PhotoData, VideoInfo
from starvsr.video.patterns import is_pattern, matching_files
from starvsr.video.read.alpha_track import AlphaTrack, Beside
from starvsr.video.read.frame_times import Picture
from starvsr.video.read.opening import open_input
from starvsr.video.read.photo_data import photo_beside
from starvsr.video.read.side_data import orientation
from starvsr.video.read.stills import check_tiles, read_still, rescue, wants_pillow
from starvsr.video.read.stream_choice import alpha_stream, video_stream
from starvsr.video.suffixes import IMAGE_SUFFIXES

_NUMBER = re.compile(r"(\d+)", re.ASCII)
_NAMED_GAPS = 4


def list_images(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """List the images of a folder or of a numbered pattern in order.

    Args:
        path: A folder (all images in it, in natural order of their names) or a pattern in its last part.

    Returns:
        The files, and notes for the user (numbers that are missing from a pattern).

    Raises:
        InputNotFoundError: The folder does not exist, or nothing matches the pattern.
        UnreadableInputError: The folder holds no image.
    """
    if is_pattern(path):
        return _list_pattern(path)
    files = images_in(path)
    if not files:
        raise UnreadableInputError(f"{path}: no images in this folder; give a video or a folder of PNG, JPEG, ...")
    return tuple(files), _gaps(path, sequence_numbers(files) or [])


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder in natural order of their names; hidden ones are left out."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted((file for file in files if file.is_file()), key=natural_key)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Order frame_2 before frame_10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in _NUMBER.split(path.name.lower())]


def other_size_error(info: VideoInfo, index: int, width: int, height: int) -> UnreadableInputError:
    """Return the error for an image of another size than the first one.

    Args:
        info: The input.
        index: Place of the image among ``info.files``.
        width: Of it.
        height: Of it.
    """
    return UnreadableInputError(
        f"{info.files[index]}: {width}x{height}, but the first image is {info.width}x{info.height}: a film has one"
        " size; give --images photos to enlarge each independently"
    )


def sequence_numbers(files: Sequence[Path]) -> list[int] | None:
    """Return the numbers of files whose names are alike but for one number; None for other names.

    Capitals in suffixes make no difference. Two files of one number (``1.png`` and ``01.png``) are no sequence.
    """
    names = [_NUMBER.split(file.stem + file.suffix.lower()) for file in files]
    if len(names) < 2 or len({len(name) for name in names}) != 1:
        return None
    columns = list(zip(*names, strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or varying[0] % 2 == 0:
        return None
    numbers = [int(digits) for digits in columns[varying[0]]]
    return numbers if len(set(numbers)) == len(numbers) else None


def _gaps(path: Path, numbers: Sequence[int]) -> tuple[str, ...]:
    """Say which numbers are missing."""
    if not numbers:
        return ()
    have = sorted(numbers)
    missing = have[-1] - have[0] + 1 - len(have)
    if not missing:
        return ()
    holes = [(a + 1, b - 1) for a, b in pairwise(have) if b > a + 1]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in holes[:_NAMED_GAPS]]
    which = ", ".join([*words, *(["..."] if len(holes) > _NAMED_GAPS else [])])
    are = "number is" if missing == 1 else "numbers are"
    words_of_range = f"between {have[0]} and {have[-1]} ({which})"
    return (f"{path.name}: {missing} {are} missing {words_of_range}; the film goes on without",)


def _list_pattern(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    if not path.parent.is_dir():
        raise InputNotFoundError(f"{path.parent}: there is no such folder; check the pattern {path.name}")
    found = matching_files(path)
    if not found:
        raise InputNotFoundError(f"{path}: no file matches this pattern; check the folder and the number of digits")
    return tuple(found.values()), _gaps(path, list(found))


class ImageFiles:
    """The images of a folder or a pattern, one after the other.

    Args:
        info: The input.
        on_corrupt: ``error``, ``skip`` or ``conceal``, as in `starvsr.video.VideoReader`.
        note: Called with what the user should know.
    """

    def __init__(self, info: VideoInfo, on_corrupt: str, note: Callable[[str], None]) -> None:
        self._info = info
        self._on_corrupt = on_corrupt
        self._note = note

    def pictures(self) -> Iterator[Picture]:
        """Yield them; ``image`` is a decoded frame, or pixels [H, W, C].

        Raises:
            CorruptFrameError: One is damaged and ``on_corrupt`` is ``error``.
            UnreadableInputError: One has another size than the first.
        """
        for index, file in enumerate(self._info.files):
            try:
                image, size = self._image(file)
            except (av.error.FFmpegError, UnreadableInputError):
                yield from self._bad_image(index, file)
                continue
            if size != (self._info.width, self._info.height):
                raise other_size_error(self._info, index, *size)
            yield Picture(index, 1, image)

    def _image(self, file: Path) -> tuple[Any, tuple[int, int]]:
        """Decode one photo: a frame, or pixels, and its upright (width, height)."""
        limits = self._info.limits
        if wants_pillow(file):
            return self._by_pillow(file)
        check_tiles(file)
        try:
            return self._by_ffmpeg(file)
        except (av.error.FFmpegError, UnreadableInputError):
            if not rescue(file, limits):
                raise
        return self._by_pillow(file)

    def _by_pillow(self, file: Path) -> tuple[Any, tuple[int, int]]:
        still = read_still(file, self._info.limits)
        self._compare_profiles(file, still.photo)
        return still.pixels, (still.pixels.shape[1], still.pixels.shape[0])

    def _by_ffmpeg(self, file: Path) -> tuple[Any, tuple[int, int]]:
        limits = self._info.limits
        with open_input(file, limits=limits) as container:
            stream = video_stream(container, file)
            decoder = stream.codec_context
            packets = (packet for packet in container.demux(stream))
            found = next(((frame, packet) for packet in packets for frame in decoder.decode(packet)), None)
            if found is None:
                raise UnreadableInputError(f"{file}: no picture could be decoded; check or convert the file")
            frame, packet = found
            photo = photo_beside(file, container, frame, packet, decoder.name, limits)
            has_alpha = alpha_stream(container, file) is not None
        self._compare_profiles(file, photo)
        beside = Beside(orientation(frame, file, decoder.name))
        if has_alpha:
            track = AlphaTrack(file, limits)
            beside = Beside(beside.turn, track.of(frame))
            track.close()
        frame.opaque = beside  # each photo may be turned in its own way
        is_turned = beside.turn is not None and beside.turn[0] == 0
        return frame, (frame.height, frame.width) if is_turned else (frame.width, frame.height)

    def _compare_profiles(self, file: Path, photo: PhotoData) -> None:
        first = self._info.photo
        if photo.profile != first.profile and not (photo.is_srgb and first.is_srgb):
            self._note(
                f"{file.name}: another colour profile than that of the first image, which is kept; its colours change"
            )

    def _bad_image(self, index: int, file: Path) -> Iterator[Picture]:
        if self._on_corrupt == "error":
            raise CorruptFrameError(f"{file}: damaged image; replace it, or use on-corrupt=skip")
        self._note(f"{file.name}: damaged image, {'repeated the one before' if self._conceals else 'left out'}")
        if self._conceals and index > 0:
            yield Picture(index, 1, None)

    @property
    def _conceals(self) -> bool:
        return self._on_corrupt == "conceal"
