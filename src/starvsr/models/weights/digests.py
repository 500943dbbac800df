"""SHA-256 of weights, and a note of it beside the file.

The note is in the format of `sha256sum`, so `sha256sum -c FILE.sha256` checks it too. It also tells size and time of
the file it was made for: as long as they are the same, large files need not be read again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from starvsr.errors import WeightsError

ByteCallback = Callable[[int], None]
"""Called with the number of bytes that were handled since the last call."""

_BLOCK = 1 << 20
_NOTE = re.compile(r"^(?P<digest>[0-9a-f]{64})  (?P<name>[^\n]+)\n# size (?P<size>\d+) mtime_ns (?P<time>\d+)\n$")


def digest(path: Path, on_bytes: ByteCallback | None = None) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
            if on_bytes is not None:
                on_bytes(len(block))
    return total.hexdigest()


def tensors_digest(path: Path, of: Callable[[Path], str] = digest) -> str:
    """Return the SHA-256 of weights: of a file, or of a folder of safetensors.

    A folder with one file has that file's digest; with several, that of their list as `sha256sum` prints it.

    Args:
        path: The file or folder.
        of: Returns the digest of a file.
    """
    if path.is_file():
        return of(path)
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return of(files[0])
    return hashlib.sha256("".join(f"{of(file)}  {file.name}\n" for file in files).encode()).hexdigest()


def note_of(path: Path) -> Path:
    """Return where the note about a file lies."""
    return path.with_name(f"{path.name}.sha256")


def noted_digest(path: Path) -> str | None:
    """Return the digest in the note beside a file, whatever has become of the file; None without a note."""
    match = _read_note(path)
    return match["digest"] if match else None


def write_note(path: Path, sha256: str) -> None:
    """Write the note beside a file; a folder that is closed to us has none."""
    now = path.stat()
    note, partial = note_of(path), note_of(path).with_name(f".{path.name}.{os.getpid()}.sha256")
    with suppress(OSError):
        partial.write_text(f"{sha256}  {path.name}\n# size {now.st_size} mtime_ns {now.st_mtime_ns}\n")
        os.replace(partial, note)


def known_digest(path: Path) -> str:
    """Return the digest of a file: from its note while the file is as it was, else by reading it (and noting it).

    Raises:
        WeightsError: the file has changed since its digest was noted.
    """
    return current_digest(path) or check_digest(path, None)


def current_digest(path: Path) -> str | None:
    """Return the digest in the note beside a file that is as it was then; None without one. Does not read the file."""
    match = _read_note(path)
    now = path.stat()
    if match and (int(match["size"]), int(match["time"])) == (now.st_size, now.st_mtime_ns):
        return str(match["digest"])
    return None


def check_digest(path: Path, expected: str | None, on_bytes: ByteCallback | None = None) -> str:
    """Read a file and compare it with the digest that is published or, without one, with its note.

    Without either, the digest is noted and taken as right from then on.

    Args:
        path: The file.
        expected: The published digest, if there is one.
        on_bytes: Called as the file is read.

    Returns:
        The digest.

    Raises:
        WeightsError: it is another one.
    """
    found = digest(path, on_bytes)
    wanted = expected or noted_digest(path)
    if wanted is not None and found != wanted:
        note = note_of(path).name
        source = "the published digest is" if expected else f"{note} beside it says"
        own = "" if expected else f"; if you changed it, delete {note}"
        raise WeightsError(
            f"{path} has SHA-256 {found}, but {source} {wanted}: damaged or replaced; fetch it again with --force{own}"
        )
    write_note(path, found)
    return found


def _read_note(path: Path) -> re.Match[str] | None:
    try:
        return _NOTE.match(note_of(path).read_text())
    except (OSError, UnicodeDecodeError):
        return None
