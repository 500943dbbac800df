"""Where weights lie on this machine. Never reaches the network.

First in a folder of the user's own (``STARVSR_MODELS``), then in the cache of `huggingface_hub`, whose settings hold
(``HF_HOME``, ``HF_HUB_CACHE``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starvsr.models.weights.components import Component, HubFile

FOLDER_VARIABLE = "STARVSR_MODELS"
"""Environment variable that names a folder with weights of the user's own."""


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

    def cache_folder(self) -> Path:
        """Return the cache that is used."""
        return Path(self.cache or _default_cache())

    def describe(self) -> str:
        """Name the places, for messages."""
        own = self.own_folder()
        return " and ".join(str(place) for place in (own, self.cache_folder()) if place is not None)


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
    return in_cache(component, file, places.cache_folder())


def locate(component: Component, places: Places | None = None) -> dict[str, Path] | None:
    """Return where each file of a component lies, by its path in the repository; None unless all are there."""
    found = {file.path: locate_file(component, file, places) for file in component.files}
    return cast(dict[str, Path], found) if all(found.values()) else None


def store_of(repo: str, cache: Path) -> Path:
    """Return the folder of a repository in a cache: ``blobs``, ``snapshots`` and ``refs``."""
    return cache / f"models--{repo.replace('/', '--')}"


def in_cache(component: Component, file: HubFile, cache: Path) -> Path | None:
    """Return where a file lies in the cache, or None: the snapshot called `main` first, the newest next."""
    for repo in component.repos:
        store = store_of(repo, cache)
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
