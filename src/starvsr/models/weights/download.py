"""The weights of a component: got where they are not on this machine yet, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starvsr.errors import WeightsError
from starvsr.models.weights.cache import Places, locate_file
from starvsr.models.weights.components import Component, HubFile
from starvsr.models.weights.digests import check_digest, noted_digest
from starvsr.models.weights.hub import download
from starvsr.models.weights.progress import FetchCallback, FetchProgress, checking


@dataclass(frozen=True)
class FileReport:
    """What `verify` found of one file.

    Args:
        file: The file.
        path: Where it lies; None when it is not on this machine.
        sha256: Its digest, when that is right.
        problem: What is wrong, when something is.
    """

    file: HubFile
    path: Path | None
    sha256: str | None = None
    problem: str | None = None


def fetch(
    component: Component,
    places: Places | None = None,
    *,
    force: bool = False,
    on_progress: FetchCallback | None = None,
) -> dict[str, Path]:
    """Get the files of a component that are not on this machine yet, and check them.

    Args:
        component: What to get.
        places: Where to look and where to put it.
        force: Get files again that are there.
        on_progress: Called often.

    Returns:
        Where each file lies, by its path in the repository.

    Raises:
        WeightsError: not available, or not what it should be; the message says why and what next.
        ResourceError: the disk has no space for it.
    """
    places = places or Places()
    found = {}
    for file in component.files:
        there = None if force else locate_file(component, file, places)
        if there is None:
            there = download(component, file, places.cache_folder(), on_progress or _silent)
        elif noted_digest(there) is None or file.sha256 not in (None, noted_digest(there)):
            _check(there, file, on_progress or _silent)
        found[file.path] = there
    return found


def verify(
    component: Component, places: Places | None = None, *, on_progress: FetchCallback | None = None
) -> Iterator[FileReport]:
    """Read each file of a component and compare its digest with the published or the noted one."""
    for file in component.files:
        path = locate_file(component, file, places)
        if path is None:
            yield FileReport(file, None, problem="not on this machine")
            continue
        try:
            yield FileReport(file, path, sha256=_check(path, file, on_progress or _silent))
        except WeightsError as error:
            yield FileReport(file, path, problem=str(error))


def _check(path: Path, file: HubFile, on_progress: FetchCallback) -> str:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise WeightsError(
            f"{path} has {size} bytes, but the published file {file.size}: cut off or replaced; "
            "fetch it again with --force"
        )
    return check_digest(path, file.sha256, checking(path, file, on_progress))


def _silent(report: FetchProgress) -> None:
    pass
