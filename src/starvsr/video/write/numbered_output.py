"""A numbered pattern as output: its images go one by one into a folder that may hold other files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from starvsr.errors import OptionError, OutputExistsError
from starvsr.video.patterns import matching_files, pattern_matcher
from starvsr.video.write.publish import file_sha256, sync_file, sync_folder


def check_numbered(path: Path, *, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse a pattern whose images are there, or are the input.

    Raises:
        OptionError: An input has a name of this pattern, or the folder is the input.
        OutputExistsError: Images of this pattern are there and ``overwrite`` is False.
    """
    matcher = pattern_matcher(path.name)
    folder = path.parent.resolve()
    if any(file.is_dir() and file.resolve() == folder for file in inputs):
        raise OptionError(f"{path}: these images would go into the input itself; choose another folder")
    if any(matcher.fullmatch(file.name) and file.parent.resolve() == folder for file in inputs):
        raise OptionError(f"{path}: these are the names of the input's images; choose another pattern or folder")
    there = matching_files(path)
    if there and not overwrite:
        first, *others = there.values()
        more = f" and {len(others)} more of this pattern" if others else ""
        raise OutputExistsError(f"{first}{more}: already there; use --overwrite, or choose another name")


def publish_numbered(partial: Path, path: Path) -> None:
    """Give the images in a folder their names; images of the pattern that were there before go.

    The folder ``partial`` keeps what it has until all are in their place, so that this can be cut short and repeated.

    Raises:
        OSError: The system refuses.
    """
    names = sorted(os.listdir(partial))
    for name in names:
        sync_file(partial / name)
    path.parent.mkdir(exist_ok=True)
    for old in matching_files(path).values():
        if old.name not in names:
            old.unlink()
    for name in names:
        _place(partial / name, path.parent / name)
    sync_folder(path.parent)


def _place(source: Path, target: Path) -> None:
    """Put a second name of a file, or a copy where the disk knows no second names, in the place of what is there."""
    beside = target.parent / f".{os.getpid()}.partial{target.suffix}"
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
        sync_file(beside)
    try:
        os.replace(beside, target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # of two names of one file, a rename leaves both


def numbered_sha256(path: Path) -> str:
    """Hash the names and contents of the images of a pattern, as `output_files.tree_sha256` does those of a folder.

    Raises:
        OSError: Something cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(matching_files(path).values()):
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
