"""Unfinished work of a clip: a folder that a killed worker leaves, and the next one continues in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from starvsr.apps.batch.clips import Clip
from starvsr.apps.batch.locations import Location
from starvsr.errors import OutputError
from starvsr.video.write.file_names import fitting
from starvsr.video.write.publish import as_output_error, replace_file


@cache
def kind_here(device: str) -> str:
    """Return in words what the bytes of a result may depend on beside input, options and weights. Loads torch.

    Args:
        device: Where the model computes: "cpu", "cuda", ...
    """
    from starvsr.jobs.executors import device_kind

    return device_kind(device)


@cache
def _mark(kind: str) -> str:
    from starvsr.jobs.manifest import versions

    return hashlib.sha256(json.dumps([kind, versions()]).encode()).hexdigest()[:8]


class ClipScratch:
    """The folder of one clip. Work of another kind of device, or of other versions, has a folder of its own.

    Args:
        root: The folder for unfinished work.
        clip: The clip.
        kind: What `kind_here` returns.
    """

    def __init__(self, root: Path, clip: Clip, kind: str) -> None:
        self.root = root
        self.path = root / f"{clip.id}-{_mark(kind)}"
        name = clip.output.rsplit("/", 1)[-1]
        self.out = fitting(self.path / name, Path(name).stem, after=Path(name).suffix)
        self._stamp = self.path / "input.json"

    def open(self, source: Location) -> Path:
        """Make the folder, with the input in it where that lies in a store; return the path of the input.

        Work on an input that has changed since is thrown away.

        Raises:
            InputError: There is no such input.
            TransferError: It cannot be fetched.
            OutputError: The disk is full or gone.
        """
        stamp = source.stamp()
        try:
            if self._noted() != stamp:
                shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True, exist_ok=True)
            replace_file(self._stamp, json.dumps(stamp).encode())
        except OSError as error:
            raise as_output_error(self.path, error) from None
        if source.is_local:
            return source.path
        folder = self.path / "in"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        fetched = fitting(folder / source.name, Path(source.name).stem, after=Path(source.name).suffix)
        if not fetched.exists():
            source.fetch(fetched)
        return fetched

    def _noted(self) -> Any:
        try:
            return json.loads(self._stamp.read_bytes())
        except (OSError, ValueError):
            return None


def remove_scratch(root: Path, clip: Clip) -> None:
    """Remove the folders of a clip, those of all kinds of devices; never raises."""
    for path in root.glob(f"{clip.id}-*"):
        shutil.rmtree(path, ignore_errors=True)


def check_scratch(root: Path) -> None:
    """Refuse a folder for unfinished work that cannot be made or written.

    Raises:
        OutputError: So it is.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        trial = root / f".trial-{os.getpid()}"
        trial.write_bytes(b"")
        trial.unlink()
    except OSError as error:
        told = as_output_error(root, error)
        raise OutputError(f"{told}; or name another folder for unfinished work by --scratch") from None
