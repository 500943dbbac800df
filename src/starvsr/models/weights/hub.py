"""Published weights: found on this machine, or fetched from the Hugging Face Hub.

Where files lie: in a folder of the user's own (``STARVSR_MODELS``), else in the cache of `huggingface_hub`, whose
settings all hold (``HF_HOME``, ``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``).

The download is done here with that library's parts, because its own forgets what it has when it is interrupted: ours
goes on from there, also in another run, and a file enters the cache only when its digest is right.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from starvsr.errors import ResourceError, WeightsError
from starvsr.models.sources import Component, HubFile
from starvsr.models.weights.digests import check_digest, digest, noted_digest, write_note

FOLDER_VARIABLE = "STARVSR_MODELS"
"""Environment variable that names a folder with weights of the user's own."""


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


FetchCallback = Callable[[FetchProgress], None]


@dataclass(frozen=True)
class Places:
    """Where to look for weights.

    Args:
        folder: A folder of the user's own, looked at first; None takes it from ``STARVSR_MODELS``.
        cache: The cache of `huggingface_hub`; None is its own choice.
    """

    folder: Path | None = None
    cache: Path | None = None

    def own_folder(self) -> Path | None:
        """Return the folder of the user's own, if there is one."""
        if self.folder is not None:
            return self.folder
        named = os.environ.get(FOLDER_VARIABLE)
        return Path(named).expanduser() if named else None

    def describe(self) -> str:
        """Name the places, for messages."""
        own = self.own_folder()
        return " and ".join(str(place) for place in (own, self.cache or _default_cache()) if place is not None)


def locate_file(component: Component, file: HubFile, places: Places | None = None) -> Path | None:
    """Return where a file lies on this machine, or None. Never reaches the network."""
    places = places or Places()
    own = places.own_folder()
    if own is not None:
        names = [*(f"{repo}/{file.path}" for repo in component.repos), f"{component.name}/{file.path}", file.path]
        if len(component.files) == 1:
            names.append(file.path.rpartition("/")[2])
        for name in names:
            if (own / name).is_file():
                return own / name
    return _in_cache(component, file, places.cache)


def locate(component: Component, places: Places | None = None) -> dict[str, Path] | None:
    """Return where each file of a component lies, by its path in the repository; None unless all are there."""
    found = {file.path: locate_file(component, file, places) for file in component.files}
    return cast(dict[str, Path], found) if all(found.values()) else None


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
        WeightsError: not to be had, or not what it should be; the message says why and what next.
        ResourceError: the disk has no room for it.
    """
    places = places or Places()
    found = {}
    for file in component.files:
        there = None if force else locate_file(component, file, places)
        if there is None:
            there = _download(component, file, places, on_progress or _silent)
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
    size, done = path.stat().st_size, 0

    def show(count: int) -> None:
        nonlocal done
        done += count
        on_progress(FetchProgress(file.path, "checking", done, size))

    if file.size is not None and size != file.size:
        raise WeightsError(
            f"{path} has {size} bytes, but the published file {file.size}: cut off or replaced; "
            "fetch it again with --force"
        )
    return check_digest(path, file.sha256, show)


def _download(component: Component, file: HubFile, places: Places, on_progress: FetchCallback) -> Path:
    hub = _hub()
    for repo in component.repos:
        try:
            return _download_from(repo, file, places, on_progress)
        except hub.errors.GatedRepoError as error:
            raise WeightsError(_why(error, repo, file)) from error
        except hub.errors.RepositoryNotFoundError as error:
            if repo == component.repos[-1]:
                raise WeightsError(_why(error, component.repos[0], file)) from error
        except (WeightsError, ResourceError):
            raise
        except Exception as error:  # whatever the library and its HTTP client raise
            raise WeightsError(_why(error, repo, file)) from error
    raise AssertionError("a component has at least one repository")


def _download_from(repo: str, file: HubFile, places: Places, on_progress: FetchCallback) -> Path:
    """Get one file into the cache: bytes into a partial file beside the blobs, digest, then the library's own links."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils import WeakFileLock

    facts = get_hf_file_metadata(hf_hub_url(repo, file.path))
    if facts.commit_hash is None or facts.etag is None or not re.fullmatch(r"[\w.-]+", facts.etag):
        raise WeightsError(f"{_endpoint()} does not answer like a Hub: check HF_ENDPOINT")
    size = facts.size if facts.size is not None else file.size
    if file.size is not None and size != file.size:
        raise WeightsError(
            f"{repo} now has {size} bytes of {file.path}, not the {file.size} that this version of starvsr knows: "
            "its authors changed it; look for a newer starvsr"
        )
    cache = places.cache or _default_cache()
    store = Path(cache) / f"models--{repo.replace('/', '--')}"
    blob = store / "blobs" / facts.etag
    partial = blob.with_name(f"{facts.etag}.starvsr.incomplete")
    lock = Path(cache) / ".locks" / store.name / f"{facts.etag}.starvsr.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        _check_room(partial, size)
        _get(hf_hub_url(repo, file.path, revision=facts.commit_hash), partial, size, file, on_progress)
        found = _check_partial(partial, facts.etag, repo, file, on_progress)
        os.replace(partial, blob)
    path = Path(hf_hub_download(repo, file.path, revision=facts.commit_hash, cache_dir=cache))
    _name_revision(store, facts.commit_hash)
    write_note(path, found)
    return path


def _get(url: str, partial: Path, size: int | None, file: HubFile, on_progress: FetchCallback) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    there = partial.stat().st_size if partial.exists() else 0
    if size is not None and there > size:
        partial.unlink()
        there = 0
    with partial.open("ab") as stream, _no_bars():
        counted = _Counted(stream, file.path, there, size, on_progress)
        http_get(
            url,
            cast(Any, counted),
            resume_size=there,
            headers=build_hf_headers(),
            expected_size=size,
        )


class _Counted:
    """A file that tells how much of it is written."""

    def __init__(self, file: IO[bytes], path: str, done: int, size: int | None, on_progress: FetchCallback) -> None:
        self._file, self._path, self._done, self._size, self._show = file, path, done, size, on_progress

    def write(self, block: bytes) -> int:
        written = self._file.write(block)
        self._done += written
        self._show(FetchProgress(self._path, "downloading", self._done, self._size))
        return written

    def seek(self, *where: int) -> int:
        self._done = self._file.seek(*where)
        return self._done

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        self._done = self._file.truncate(size)
        return self._done


def _check_partial(partial: Path, etag: str, repo: str, file: HubFile, on_progress: FetchCallback) -> str:
    """Return the digest of what was downloaded; a wrong one is thrown away."""
    size, done = partial.stat().st_size, 0

    def show(count: int) -> None:
        nonlocal done
        done += count
        on_progress(FetchProgress(file.path, "checking", done, size))

    found = digest(partial, show)
    served = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None  # large files are named by their SHA-256
    wanted, source = (file.sha256, "the published digest is") if file.sha256 else (served, f"{repo} promises")
    if wanted is not None and found != wanted:
        partial.unlink()
        raise WeightsError(
            f"{file.path} from {repo} came with SHA-256 {found}, but {source} {wanted}: thrown away; fetch it again, "
            "and if that does not help, do not trust this source"
        )
    return found


def _check_room(partial: Path, size: int | None) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if size is not None and size - there > free:
        raise ResourceError(
            f"{partial.parent} has {free / 1e9:.1f} GB free and {(size - there) / 1e9:.1f} GB are to come: make room, "
            "or give another cache with --cache or HF_HOME"
        )


def _name_revision(store: Path, commit: str) -> None:
    """Note that this commit is what `main` was, as the library does for downloads by name."""
    with suppress(OSError):
        (store / "refs").mkdir(exist_ok=True)
        (store / "refs" / "main").write_text(commit)


def _in_cache(component: Component, file: HubFile, cache: Path | None) -> Path | None:
    """Look through the snapshots in the cache, the one called `main` first, newest next."""
    for repo in component.repos:
        store = Path(cache or _default_cache()) / f"models--{repo.replace('/', '--')}"
        with suppress(OSError):
            main = (store / "refs" / "main").read_text().strip()
            if (path := store / "snapshots" / main / file.path).is_file():
                return path
        others = [path for path in store.glob("snapshots/*") if (path / file.path).is_file()]
        if others:
            return max(others, key=lambda path: path.stat().st_mtime) / file.path
    return None


def _default_cache() -> Path:
    """Return the cache of `huggingface_hub`; works without the library, so that what was fetched stays usable."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
        return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    return Path(HF_HUB_CACHE)


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise WeightsError(
            "fetching weights needs the package huggingface_hub: pip install 'starvsr[hub]', or put the files into a "
            f"folder and name it in {FOLDER_VARIABLE} (docs/models.md)"
        ) from error
    return huggingface_hub


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the library's own progress bars away; the caller shows progress."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    group = "huggingface_hub.http_get"
    if are_progress_bars_disabled(group):
        yield
        return
    disable_progress_bars(group)
    try:
        yield
    finally:
        enable_progress_bars(group)


def _why(error: Exception, repo: str, file: HubFile) -> str:
    """Say in one line why a file could not be had and what to do."""
    from huggingface_hub import errors

    page = f"{_endpoint()}/{repo}"
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is given only to who accepts its terms: do so at {page}, then `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{repo} is not at {page} or closed to you: if it is there, `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{repo} has no file {file.path} (any more): look at {page}, or for a newer starvsr"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return (
            f"{file.path} of {repo} is not on this machine and HF_HUB_OFFLINE forbids to fetch it: unset it, or copy "
            f"the file into a folder and name that in {FOLDER_VARIABLE}"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{page} refuses access ({status}): `hf auth login` again, or set HF_TOKEN to a token that is valid"
    if status is not None:
        return f"{page} answers with error {status} for {file.path}: try again later; what is there will be kept"
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return (
        f"cannot fetch {file.path} from {page} ({reason}): check the connection and fetch again; it goes on from there"
    )


def _silent(report: FetchProgress) -> None:
    pass


__all__ = [
    "FOLDER_VARIABLE",
    "FetchCallback",
    "FetchProgress",
    "FileReport",
    "Places",
    "fetch",
    "locate",
    "locate_file",
    "verify",
]
