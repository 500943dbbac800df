"""Files on disks and in object stores, through fsspec: read, list, create without overwriting, hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from starvsr.errors import (
    InputNotFoundError,
    OptionError,
    OutputExistsError,
    OutputNotWritableError,
    TransferError,
    UnreadableInputError,
)
from starvsr.video.write.publish import as_output_error, file_sha256, replace_file, sync_file, sync_folder

Result = TypeVar("Result")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BLOCK = 1 << 22
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
TRIES = 6
FIRST_PAUSE = 0.5
"""Seconds before the first of the tries after a failed one; doubles each time."""


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
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        scheme = self.address.split("://", 1)[0].lower() if not self.is_local else "file"
        options = {} if self.is_local else {"use_listings_cache": False}
        try:
            system, path = fsspec.core.url_to_fs(self.address, **options)
        except (ImportError, ValueError) as error:
            package = _PACKAGES.get(scheme)
            hint = (
                "install 'starvsr[remote]'"
                if package == "s3fs"
                else f"pip install {package}"
                if package
                else "give a path, or an address of s3:// or gs://"
            )
            raise OptionError(
                f"{self.address}: addresses of {scheme}:// cannot be opened here ({error}): {hint}"
            ) from None
        return system, path

    # ---- looking

    def exists(self) -> bool:
        """Whether there is a file.

        Raises:
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            return os.path.lexists(self.address)
        system, path = self._opened
        return bool(self._tried("looked for", lambda: system.isfile(path)))

    def is_folder(self) -> bool:
        """Whether it is a folder, or a prefix of keys.

        Raises:
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            return self.path.is_dir()
        system, path = self._opened
        return bool(self._tried("looked for", lambda: system.isdir(path)))

    def stamp(self) -> dict[str, Any]:
        """Return size and version of a file: a cheap sign of whether it has changed.

        Raises:
            InputNotFoundError: There is none.
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            try:
                facts = self.path.stat()
            except OSError as error:
                raise InputNotFoundError(f"{self}: cannot be read ({error.strerror}); check the manifest") from None
            return {"bytes": facts.st_size, "version": str(facts.st_mtime_ns)}
        system, path = self._opened
        try:
            facts = self._tried("looked at", lambda: system.info(path))
        except FileNotFoundError:
            raise InputNotFoundError(f"{self}: there is no such file; check the manifest") from None
        version = facts.get("ETag") or facts.get("etag") or facts.get("mtime") or facts.get("LastModified") or ""
        return {"bytes": int(facts["size"]), "version": str(version)}

    def files(self) -> Iterator[str]:
        """Yield the files below a folder, relative to it, with forward slashes; hidden ones are left out, sorted.

        Raises:
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            yield from _local_files(self.path)
            return
        system, path = self._opened
        try:
            found = self._tried("listed", lambda: system.find(path))
        except FileNotFoundError:
            return
        root = path.rstrip("/") + "/"
        for name in sorted(found):
            relative = name.removeprefix(root)
            if relative and not any(part.startswith(".") for part in relative.split("/")):
                yield relative

    # ---- reading

    def read(self) -> bytes:
        """Return the content of a small file.

        Raises:
            FileNotFoundError: There is none.
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            return self.path.read_bytes()
        system, path = self._opened
        return bytes(self._tried("read", lambda: system.cat_file(path)))

    def sha256(self) -> str:
        """Read the whole file and return its SHA-256, in constant memory.

        Raises:
            FileNotFoundError: There is none.
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            return file_sha256(self.path)
        system, path = self._opened

        def hashed() -> str:
            digest = hashlib.sha256()
            with system.open(path, "rb", block_size=_BLOCK, cache_type="readahead") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            return digest.hexdigest()

        return str(self._tried("read back", hashed))

    def fetch(self, target: Path) -> None:
        """Copy a file to the disk; it has its name when it is whole.

        Raises:
            InputNotFoundError: There is none.
            TransferError: The store cannot be reached, or gives less than it tells.
            OutputError: The disk is full or gone.
        """
        expected = self.stamp()["bytes"]
        partial = target.with_name(f"{target.name}.partial")
        system, path = self._opened

        def copied() -> None:
            partial.unlink(missing_ok=True)
            system.get_file(path, str(partial))
            size = partial.stat().st_size
            if size != expected:
                raise ConnectionError(f"{size} of {expected} bytes came")

        try:
            self._tried("fetched", copied)
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

    # ---- writing

    def write_json(self, value: Any) -> None:
        """Write a small file, in one step; one that is there is replaced.

        Raises:
            TransferError: The store cannot be reached.
            OutputError: The disk is full or gone.
        """
        content = json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        if self.is_local:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self.path, content)
            except OSError as error:
                raise as_output_error(self.path, error) from None
            return
        system, path = self._opened
        self._tried("written", lambda: system.pipe_file(path, content))

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
            if self.is_local:
                self._create_here(source, overwrite)
            else:
                self._create_there(source, overwrite)
        except FileExistsError:
            if self.sha256() != sha256:
                raise OutputExistsError(
                    f"{self}: another file is there already: move it away, give the clip another output, or --overwrite"
                ) from None
        except PermissionError as error:
            raise OutputNotWritableError(f"{self}: no permission to write it ({error}); choose another place") from None

    def _create_here(self, source: Path, overwrite: bool) -> None:
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not overwrite:
                with contextlib.suppress(OSError):
                    sync_file(source)
                    os.link(source, path)
                    sync_folder(path.parent)
                    return
                if os.path.lexists(path):
                    raise FileExistsError(path)
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            try:
                shutil.copyfile(source, partial)
                sync_file(partial)
                if overwrite:
                    os.replace(partial, path)
                else:
                    _give_name(partial, path)
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(path.parent)
        except (FileExistsError, PermissionError):
            raise
        except OSError as error:
            raise as_output_error(path, error) from None

    def _create_there(self, source: Path, overwrite: bool) -> None:
        system, path = self._opened
        conditional = not overwrite and _creates(system)
        if not overwrite and not conditional and self.exists():
            raise FileExistsError(path)
        mode = {"mode": "create"} if conditional else {}
        self._tried("written", lambda: system.put_file(str(source), path, **mode))

    def remove(self) -> None:
        """Remove a file, if it is there.

        Raises:
            TransferError: The store cannot be reached.
        """
        if self.is_local:
            self.path.unlink(missing_ok=True)
            return
        system, path = self._opened
        with contextlib.suppress(FileNotFoundError):
            self._tried("removed", lambda: system.rm_file(path))

    def _tried(self, what: str, call: Callable[[], Result]) -> Result:
        """Call something that may fail for a while; what will not change by trying again is raised at once."""
        pause = FIRST_PAUSE
        for attempt in range(TRIES):
            try:
                return call()
            except _FINAL:
                raise
            except Exception as error:  # botocore, aiohttp and others have trees of their own
                if attempt + 1 == TRIES:
                    text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                    raise TransferError(
                        f"{self}: could not be {what} in {TRIES} tries ({text}); check the connection, the address and "
                        "the credentials"
                    ) from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError("not reached")


def _give_name(partial: Path, path: Path) -> None:
    """Give a file its name unless it is taken, also where the file system has no hard links."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))  # the name is ours now
        os.replace(partial, path)


def _creates(system: Any) -> bool:
    """Whether a store can refuse to overwrite by itself."""
    import inspect

    function = getattr(system, "_put_file", system.put_file)
    return "mode" in inspect.signature(function).parameters


def _local_files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".job"))
        relative = os.path.relpath(place, folder)
        before = "" if relative == "." else Path(relative).as_posix() + "/"
        for name in sorted(files):
            if not name.startswith("."):
                yield before + name
