"""Progress of fetching or checking a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starvsr.models.weights.components import HubFile


@dataclass(frozen=True)
class FetchProgress:
    """How far a download is.

    Args:
        path: The file's path in the repository.
        stage: "downloading" or "checking".
        num_done: Bytes handled.
        num_bytes: Bytes in all; None when the server does not say.
    """

    path: str
    stage: str
    num_done: int
    num_bytes: int | None


FetchCallback = Callable[[FetchProgress], None]


def checking(path: Path, file: HubFile, on_progress: FetchCallback) -> Callable[[int], None]:
    """Return what to call with the bytes of each block of a file that is read to check it."""
    size, done = path.stat().st_size, 0

    def show(count: int) -> None:
        nonlocal done
        done += count
        on_progress(FetchProgress(file.path, "checking", done, size))

    return show
