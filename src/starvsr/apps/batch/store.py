"""Files in object stores, through fsspec: the same as of a disk, tried again where the connection breaks."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from starvsr.errors import InputNotFoundError, OptionError, TransferError

Result = TypeVar("Result")
_BLOCK = 1 << 22
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
TRIES = 6
FIRST_PAUSE = 0.5
"""Seconds before the first of the tries after a failed one; doubles each time."""


class Store:
    """A file or a prefix of keys by its address; errors are told in :class:`starvsr.apps.batch.locations.Location`."""

    def __init__(self, address: str) -> None:
        self._address = address

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        scheme = self._address.split("://", 1)[0].lower()
        try:
            system, path = fsspec.core.url_to_fs(self._address, use_listings_cache=False)
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
                f"{self._address}: addresses of {scheme}:// cannot be opened here ({error}): {hint}"
            ) from None
        return system, path

    def exists(self) -> bool:
        """Whether there is a file."""
        system, path = self._opened
        return bool(self._tried("looked for", lambda: system.isfile(path)))

    def is_folder(self) -> bool:
        """Whether keys begin with it."""
        system, path = self._opened
        return bool(self._tried("looked for", lambda: system.isdir(path)))

    def stamp(self) -> dict[str, Any]:
        """Return size and tag of the file."""
        system, path = self._opened
        try:
            facts = self._tried("looked at", lambda: system.info(path))
        except FileNotFoundError:
            raise InputNotFoundError(f"{self._address}: there is no such file; check the manifest") from None
        version = facts.get("ETag") or facts.get("etag") or facts.get("mtime") or facts.get("LastModified") or ""
        return {"bytes": int(facts["size"]), "version": str(version)}

    def files(self) -> Iterator[str]:
        """Yield the files below it, without hidden ones."""
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

    def read(self) -> bytes:
        """Return the content."""
        system, path = self._opened
        return bytes(self._tried("read", lambda: system.cat_file(path)))

    def sha256(self) -> str:
        """Hash the content as it comes."""
        system, path = self._opened

        def hashed() -> str:
            digest = hashlib.sha256()
            with system.open(path, "rb", block_size=_BLOCK, cache_type="readahead") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            return digest.hexdigest()

        return str(self._tried("read back", hashed))

    def copy_to(self, target: Path) -> None:
        """Copy the file to the disk; a copy that is too short counts as a broken connection."""
        expected = self.stamp()["bytes"]
        system, path = self._opened

        def copied() -> None:
            target.unlink(missing_ok=True)
            system.get_file(path, str(target))
            size = target.stat().st_size
            if size != expected:
                raise ConnectionError(f"{size} of {expected} bytes came")

        self._tried("fetched", copied)

    def write(self, content: bytes) -> None:
        """Write a small file in one step."""
        system, path = self._opened
        self._tried("written", lambda: system.pipe_file(path, content))

    def create(self, source: Path, *, overwrite: bool) -> None:
        """Put a file here; raise FileExistsError where there is one, by the store itself if it can."""
        system, path = self._opened
        conditional = not overwrite and _creates(system)
        if not overwrite and not conditional and self.exists():
            raise FileExistsError(path)
        mode = {"mode": "create"} if conditional else {}
        self._tried("written", lambda: system.put_file(str(source), path, **mode))

    def remove(self) -> None:
        """Remove the file, if it is there."""
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
                        f"{self._address}: could not be {what} in {TRIES} tries ({text}); check the connection, the "
                        "address and the credentials"
                    ) from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError("not reached")


def _creates(system: Any) -> bool:
    """Whether a store can refuse to overwrite by itself."""
    function = getattr(system, "_put_file", system.put_file)
    return "mode" in inspect.signature(function).parameters
