"""Checksums of what is scored: a benchmark goes on, or is repeated elsewhere, only with the same pixels.

The file holds, for each clip, the SHA-256 of its pixels (8-bit RGB of all frames, so that a lossless copy in another
container is the same clip) and that of its files, which spares decoding them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from starvsr.errors import InputError, InputNotFoundError, UnreadableInputError
from starvsr.evaluation.clip_source import ClipSource, sha256_of
from starvsr.video.write.publish import as_output_error, replace_file

FROZEN_NAME = "frozen.json"
_FORMAT, _VERSION = "starvsr benchmark data", 1


@dataclass(frozen=True)
class Digest:
    """What a clip is known by.

    Attributes:
        size: Width and height.
        frames: Number of frames.
        pixels: SHA-256 of its pixels.
        files: SHA-256 of its files.
    """

    size: tuple[int, int]
    frames: int
    pixels: str
    files: str


@dataclass
class Frozen:
    """The checksums of a data set.

    Attributes:
        settings: What its clips depend on: name of the set, low-quality version, seed, frames, size, scale.
        clips: By the clip's name: "gt" and "lq".
    """

    settings: dict[str, Any]
    clips: dict[str, dict[str, Digest]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write it."""
        clips = {name: {side: asdict(found) for side, found in sides.items()} for name, sides in self.clips.items()}
        tree = {"format": _FORMAT, "format_version": _VERSION, "settings": self.settings, "clips": clips}
        return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write it to a file, which holds the old or the new content at any time.

        Raises:
            OutputError: the system refuses.
        """
        try:
            replace_file(path, self.to_json().encode())
        except OSError as error:
            raise as_output_error(path, error) from None


def read_frozen(path: Path) -> Frozen:
    """Read checksums.

    Raises:
        InputNotFoundError: there is no such file.
        UnreadableInputError: it holds none, or was written by a later version.
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: there is no such file; give the {FROZEN_NAME} of a benchmark")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["format"] != _FORMAT:
            raise ValueError("another format")
        if tree["format_version"] > _VERSION:
            raise UnreadableInputError(f"{path}: written by a later version; update starvsr to read it")
        clips = {
            name: {side: Digest(**found | {"size": tuple(found["size"])}) for side, found in sides.items()}
            for name, sides in tree["clips"].items()
        }
        return Frozen(dict(tree["settings"]), clips)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableInputError(f"{path}: holds no checksums of a benchmark ({type(error).__name__})") from None


def refuse_other_settings(frozen: Frozen, settings: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with other settings than those that were frozen.

    Raises:
        InputError: so it is.
    """
    other = [key for key in settings if frozen.settings.get(key) != settings[key]]
    if other:
        told = ", ".join(f"{key.replace('_', ' ')} {settings[key]} for {frozen.settings.get(key)}" for key in other)
        raise InputError(f"{path}: was frozen with other settings ({told}): give those, or another -o")


def digest_of(source: ClipSource) -> Digest:
    """Decode a clip and return what it is known by.

    Raises:
        InputError: it cannot be read.
    """
    total = hashlib.sha256()
    count, size = 0, (0, 0)
    for frame in source:
        size = (frame.shape[1], frame.shape[0])
        total.update(f"{size}".encode() + frame.tobytes())
        count += 1
    return Digest(size, count, total.hexdigest(), sha256_of(source.files))


def refuse_other_pixels(name: str, side: str, found: Digest, known: Digest, path: Path) -> None:
    """Refuse a clip that is not the one that was frozen.

    Raises:
        InputError: so it is.
    """
    if found.pixels == known.pixels:
        return
    what = {"gt": "the ground truth", "lq": "the low-quality clip"}[side]
    if (found.size, found.frames) != (known.size, known.frames):
        differs = f"{_shape(found)} in place of {_shape(known)}"
    else:
        differs = f"pixels of SHA-256 {found.pixels[:12]} in place of {known.pixels[:12]}"
    raise InputError(
        f"{name}: {what} is not the one that {path} froze ({differs}): scores of two data sets do not belong into one "
        "table; give the data that was frozen, or another -o"
    )


def _shape(digest: Digest) -> str:
    return f"{digest.frames} frames of {digest.size[0]}x{digest.size[1]}"
