"""One file from the Hugging Face Hub into the cache of `huggingface_hub`.

All settings of that library hold (``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``). The download is done here with
its parts, because its own starts over when it is interrupted: ours continues, also in another run, and a file enters
the cache only when its digest is right.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from starvsr.errors import ResourceError, WeightsError
from starvsr.models.weights.cache import FOLDER_VARIABLE, store_of
from starvsr.models.weights.components import Component, HubFile
from starvsr.models.weights.digests import digest, write_note
from starvsr.models.weights.hub_errors import endpoint, explain
from starvsr.models.weights.progress import FetchCallback, FetchProgress, checking


def download(component: Component, file: HubFile, cache: Path, on_progress: FetchCallback) -> Path:
    """Get a file of a component from the first of its repositories that is there, and check it.

    Args:
        component: What the file is of.
        file: The file.
        cache: Where it goes; a download that was interrupted continues from what is there.
        on_progress: Called often.

    Returns:
        Where it lies, with a note of its digest beside it.

    Raises:
        WeightsError: not available, or not what it should be; the message says why and what next.
        ResourceError: the disk has no space for it.
    """
    hub = _hub()
    for repo in component.repos:
        try:
            return _download_from(repo, file, cache, on_progress)
        except hub.errors.GatedRepoError as error:
            raise WeightsError(explain(error, repo, file)) from error
        except hub.errors.RepositoryNotFoundError as error:
            if repo == component.repos[-1]:
                raise WeightsError(explain(error, component.repos[0], file)) from error
        except (WeightsError, ResourceError):
            raise
        except Exception as error:  # whatever the library and its HTTP client raise
            raise WeightsError(explain(error, repo, file)) from error
    raise AssertionError("a component has at least one repository")


def _download_from(repo: str, file: HubFile, cache: Path, on_progress: FetchCallback) -> Path:
    """Get one file into the cache: bytes into a partial file beside the blobs, digest, then the library's own links."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils import WeakFileLock

    facts = get_hf_file_metadata(hf_hub_url(repo, file.path))
    if facts.commit_hash is None or facts.etag is None or not re.fullmatch(r"[\w.-]+", facts.etag):
        raise WeightsError(f"{endpoint()} does not answer like a Hub: check HF_ENDPOINT")
    size = facts.size if facts.size is not None else file.size
    if file.size is not None and size != file.size:
        raise WeightsError(
            f"{repo} now has {size} bytes of {file.path}, not the {file.size} that this version of starvsr knows: "
            "its authors changed it; look for a newer starvsr"
        )
    store = store_of(repo, cache)
    blob = store / "blobs" / facts.etag
    partial = blob.with_name(f"{facts.etag}.starvsr.incomplete")
    lock = cache / ".locks" / store.name / f"{facts.etag}.starvsr.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        _check_space(partial, size)
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
    found = digest(partial, checking(partial, file, on_progress))
    served = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None  # large files are named by their SHA-256
    wanted, source = (file.sha256, "the published digest is") if file.sha256 else (served, f"{repo} promises")
    if wanted is not None and found != wanted:
        partial.unlink()
        raise WeightsError(
            f"{file.path} from {repo} came with SHA-256 {found}, but {source} {wanted}: thrown away; fetch it again, "
            "and if that does not help, do not trust this source"
        )
    return found


def _check_space(partial: Path, size: int | None) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if size is not None and size - there > free:
        raise ResourceError(
            f"{partial.parent} has {free / 1e9:.1f} GB free and {(size - there) / 1e9:.1f} GB are to come: free some "
            "space, or give another cache with --cache or HF_HOME"
        )


def _name_revision(store: Path, commit: str) -> None:
    """Note that this commit is what `main` was, as the library does for downloads by name."""
    with suppress(OSError):
        (store / "refs").mkdir(exist_ok=True)
        (store / "refs" / "main").write_text(commit)


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
