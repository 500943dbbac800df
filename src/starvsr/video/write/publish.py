"""Outputs appear under their name only when whole: checks before, a partial name meanwhile, a rename after."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from starvsr.errors import OptionError, OutputError, OutputExistsError, OutputNotWritableError
from starvsr.video.suffixes import IMAGE_SUFFIXES
from starvsr.video.write.file_names import check_name, fitting

_NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_NO_MEMORY = {errno.ENOMEM, errno.EAGAIN}


def partial_path(path: Path) -> Path:
    """Give the name an output has while it is written: hidden, in the same folder, same suffix."""
    return fitting(path, path.name, before=".", after=f".{os.getpid()}.partial{path.suffix}")


def check_output(path: Path, *, inputs: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse an output that cannot or must not be written, before any work is done.

    Raises:
        OptionError: It is one of the inputs (also through a link), a pipe or a device, or its name is too long.
        OutputExistsError: It is there and ``overwrite`` is False, or is a folder of other things.
        OutputNotWritableError: Its folder is missing or closed to us.
    """
    check_name(path)
    for source in inputs:
        if _is_same(path, source):
            raise OptionError(f"{path}: the output is the input itself; choose another name")
    if path.exists() or path.is_symlink():
        _check_existing(path, overwrite)
    check_parent(path)


def check_parent(path: Path) -> None:
    """Refuse an output whose folder is missing or closed to us.

    Raises:
        OutputNotWritableError: So it is.
    """
    parent = path.parent
    if not parent.exists():
        raise OutputNotWritableError(f"{path}: the folder {parent} does not exist; create it first")
    if not parent.is_dir():
        raise OutputNotWritableError(f"{path}: {parent} is no folder; choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputNotWritableError(f"{path}: no permission to write into {parent}; choose another folder")


def _is_same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return False


def _check_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not path.is_dir() and not path.is_file():
        raise OptionError(f"{path}: a pipe, socket or device, which cannot hold an output; give the name of a file")
    if path.is_dir():
        content = list(path.iterdir())
        if not content:
            return
        if any(entry.suffix.lower() not in IMAGE_SUFFIXES or entry.is_dir() for entry in content):
            raise OutputExistsError(f"{path}: the folder holds other files, it is not replaced; choose a new name")
    if not overwrite:
        raise OutputExistsError(f"{path}: already there; use --overwrite, or choose another name")


def publish(partial: Path, path: Path) -> None:
    """Flush ``partial`` (a file or a folder) to disk and give it its name, in one step.

    Raises:
        OutputNotWritableError: The system refuses.
    """
    try:
        for file in sorted(f for f in partial.rglob("*") if f.is_file()) if partial.is_dir() else [partial]:
            sync_file(file)
        if partial.is_dir() and path.is_dir():
            _replace_folder(partial, path)
        else:
            os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise as_output_error(path, error) from None


def replace_file(path: Path, content: bytes) -> None:
    """Give a small file a new content in one step: after a power cut it holds the old or the new one.

    Raises:
        OSError: The disk is full or gone.
    """
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


def sync_file(file: Path) -> None:
    """Put the content of a file on the disk.

    Raises:
        OSError: The disk is full or gone.
    """
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Make names given in a folder outlast a power cut, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace_folder(partial: Path, path: Path) -> None:
    old = fitting(path, path.name, before=".", after=f".{os.getpid()}.old")
    os.replace(path, old)
    try:
        os.replace(partial, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def tree_sha256(path: Path) -> str:
    """Hash a file, or the names and contents of the files in a folder.

    Raises:
        OSError: Something cannot be read.
    """
    if not path.is_dir():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hash a file in constant memory.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def discard(partial: Path) -> None:
    """Remove what was half written; never raises."""
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system inside the block into ours; see `as_output_error`."""
    try:
        yield
    except OSError as error:
        raise as_output_error(path, error) from None


def as_output_error(path: Path, error: BaseException) -> OutputError:
    """Turn an error of the system or of FFmpeg while writing into one of ours."""
    number = getattr(error, "errno", None)
    if number in _NO_SPACE:
        return OutputNotWritableError(
            f"{path}: the disk is full (or a quota is used up); free some space and try again"
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputNotWritableError(f"{path}: not writable ({os.strerror(number)}); choose another folder")
    if number in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR):
        return OutputNotWritableError(f"{path}: its folder has gone away; check the disk and try again")
    if number in _NO_MEMORY:
        return OutputError(f"{path}: the system gives no more memory or threads; close other programs and try again")
    if number == errno.ENAMETOOLONG:
        return OutputNotWritableError(f"{path}: the system takes no name or path as long as this; give a shorter one")
    if number == errno.EIO:
        return OutputNotWritableError(f"{path}: the disk reports an error; check it and try again")
    text = str(getattr(error, "strerror", None) or error).split("\n", 1)[0]
    return OutputError(f"{path}: could not be written ({text}); try another container or codec")
