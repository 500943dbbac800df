"""Folders of clips and photos: what of them is taken, and what is passed over."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from starvsr.errors import DataError
from starvsr.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_NAMED = 3  # files that a note names


def list_clips(folder: str | Path | None) -> list[Path]:
    """List videos and subfolders of images (REDS keeps a clip so), sorted by name; [] for None.

    Raises:
        DataError: the folder does not exist.
    """
    videos = list_media(folder, VIDEO_SUFFIXES)
    if folder is None:
        return videos
    folders = [path for path in Path(folder).iterdir() if path.is_dir() and _is_clip_folder(path)]
    return sorted((*videos, *folders))


def list_media(folder: str | Path | None, suffixes: frozenset[str]) -> list[Path]:
    """List the files of a folder with these suffixes, sorted by name; hidden ones are left out; [] for None.

    Raises:
        DataError: the folder does not exist.
    """
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise DataError(f"there is no folder {folder}; check the path of the training data")
    found = (path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def passed_over(folder: str | Path | None, taken: Collection[Path], hdr: Collection[Path] = ()) -> list[str]:
    """Say what of a folder is not taken, in one sentence; captions (`NAME.txt` of a clip) and CSV files do not count.

    Args:
        folder: the folder, or None.
        taken: what is taken of it.
        hdr: videos that are left out since they are HDR.
    """
    if folder is None:
        return []
    stems = {path.stem for path in taken}
    rest = sorted(p for p in Path(folder).iterdir() if p not in taken and p not in hdr and not p.name.startswith("."))
    files = [p.name for p in rest if not p.is_dir() and not (p.suffix == ".txt" and p.stem in stems)]
    parts = [
        _count([name for name in files if not name.endswith(".csv")], "file"),
        _count([p.name for p in rest if p.is_dir()], "folder"),
        _count([p.name for p in sorted(hdr)], "HDR video"),
    ]
    skipped = ", ".join(part for part in parts if part)
    return [f"{folder}: passed over {skipped}"] if skipped else []


def _count(names: list[str], kind: str) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({', '.join(names[:_NAMED])}{more})"


def _is_clip_folder(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
