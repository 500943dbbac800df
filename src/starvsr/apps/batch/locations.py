"""Files by their addresses, on disks (`disk`) and in stores (`store`): read, list, create without overwriting."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from starvsr.apps.batch.disk import Disk
from starvsr.apps.batch.store import Store
from starvsr.errors import (
    InputNotFoundError,
    OptionError,
    OutputExistsError,
    OutputNotWritableError,
    UnreadableInputError,
)
from starvsr.video.write.publish import as_output_error

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_remote(word: str) -> bool:
    """Whether a word is an address such as ``s3://bucket/key``, and not a path on this machine."""
    match = _SCHEME.match(word)
    return match is not None and match.group(1).lower() not in ("file", "local")


@dataclass(frozen=True)
class Location:
    """A file or folder by its address: a path of this machine, or ``s3://bucket/key`` and the like.

    Args:
        address: The address; without a slash at its end.
    """

    address: str

    @classmethod
    def of(cls, word: str | Path) -> Location:
        """Return the location that a word names; paths become absolute.

        Raises:
            OptionError: The word is empty.
        """
        text = str(word)
        if not text:
            raise OptionError("an empty name: give the path of a file or folder, or an address such as s3://bucket/key")
        if is_remote(text):
            return cls(text.rstrip("/"))
        match = _SCHEME.match(text)
        return cls(os.path.abspath(text[match.end() :] if match else text))

    def __str__(self) -> str:
        return self.address

    @property
    def is_local(self) -> bool:
        """Whether it is a path of the file system."""
        return not is_remote(self.address)

    @property
    def path(self) -> Path:
        """The path of a local one."""
        assert self.is_local
        return Path(self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return posixpath.basename(self.address) if not self.is_local else self.path.name

    def join(self, relative: str) -> Location:
        """Return what lies below a folder; ``relative`` has forward slashes."""
        return Location(f"{self.address}/{relative}" if not self.is_local else str(self.path / relative))

    @property
    def folder(self) -> Location:
        """The folder that it lies in."""
        return Location(posixpath.dirname(self.address) if not self.is_local else str(self.path.parent))

    @cached_property
    def _place(self) -> Disk | Store:
        return Disk(self.path) if self.is_local else Store(self.address)

    def exists(self) -> bool:
        """Whether there is a file.

        Raises:
            TransferError: The store cannot be reached.
        """
        return self._place.exists()

    def is_folder(self) -> bool:
        """Whether it is a folder, or a prefix of keys.

        Raises:
            TransferError: The store cannot be reached.
        """
        return self._place.is_folder()

    def stamp(self) -> dict[str, Any]:
        """Return size ("bytes") and "version" of a file: a cheap sign of whether it has changed.

        Raises:
            InputNotFoundError: There is none.
            TransferError: The store cannot be reached.
        """
        return self._place.stamp()

    def files(self) -> Iterator[str]:
        """Yield the files below a folder, relative to it, with forward slashes; hidden ones are left out, sorted.

        Raises:
            TransferError: The store cannot be reached.
        """
        return self._place.files()

    def read(self) -> bytes:
        """Return the content of a small file.

        Raises:
            FileNotFoundError: There is none.
            TransferError: The store cannot be reached.
        """
        return self._place.read()

    def sha256(self) -> str:
        """Read the whole file and return its SHA-256, in constant memory.

        Raises:
            FileNotFoundError: There is none.
            TransferError: The store cannot be reached.
        """
        return self._place.sha256()

    def fetch(self, target: Path) -> None:
        """Copy a file to the disk; it has its name when it is whole.

        Raises:
            InputNotFoundError: There is none.
            TransferError: The store cannot be reached, or gives less than it tells.
            OutputError: The disk is full or gone.
        """
        partial = target.with_name(f"{target.name}.partial")
        try:
            self._place.copy_to(partial)
            os.replace(partial, target)
        except FileNotFoundError:
            raise InputNotFoundError(f"{self}: there is no such file any more; check the manifest") from None
        except PermissionError as error:
            raise UnreadableInputError(f"{self}: no permission to read it ({error}); check the credentials") from None
        except OSError as error:
            raise as_output_error(target, error) from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def write_json(self, value: Any) -> None:
        """Write a small file, in one step; one that is there is replaced.

        Raises:
            TransferError: The store cannot be reached.
            OutputError: The disk is full or gone.
        """
        content = json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        self._place.write(content)

    def create(self, source: Path, sha256: str, *, overwrite: bool = False) -> None:
        """Put a file where there is none; where the same bytes lie already, nothing is done.

        Args:
            source: The file on the disk.
            sha256: Of its content.
            overwrite: Replace what is there.

        Raises:
            OutputExistsError: There is another file.
            TransferError: The store cannot be reached.
            OutputError: The disk is full or gone.
        """
        try:
            self._place.create(source, overwrite=overwrite)
        except FileExistsError:
            if self.sha256() != sha256:
                raise OutputExistsError(
                    f"{self}: another file is there already: move it away, give the clip another output, or --overwrite"
                ) from None
        except PermissionError as error:
            raise OutputNotWritableError(f"{self}: no permission to write it ({error}); choose another place") from None

    def remove(self) -> None:
        """Remove a file, if it is there.

        Raises:
            TransferError: The store cannot be reached.
        """
        self._place.remove()
