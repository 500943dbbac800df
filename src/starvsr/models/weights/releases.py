"""Which published component a file of weights is, so that parts of two releases are not mixed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from starvsr.errors import WeightsError
from starvsr.models.weights import components
from starvsr.models.weights.cache import in_cache
from starvsr.models.weights.components import Component, HubFile
from starvsr.models.weights.digests import current_digest, known_digest
from starvsr.models.weights.tensors import read_metadata

COMPONENT_KEY = "component"
"""Entry of a safetensors file's metadata that names the component: what is converted has another digest."""

ORIGIN_KEY = "origin"
"""Entry of the metadata of weights that no published component is known to hold; its value is `OWN`."""

OWN = "own"


def component_of(path: Path, *, may_read: bool = False) -> str | None:
    """Return the name of the component that a file, or a folder of safetensors, is a part of; None if it tells none.

    Files name it in their metadata, or are known by their digest.

    Args:
        path: A file, or a folder of safetensors.
        may_read: Read a file whose digest is not noted beside it.

    Raises:
        WeightsError: The files of a folder are parts of two components; both are named.
    """
    if not path.is_dir():
        return read_metadata(path).get(COMPONENT_KEY) or _by_digest(path, may_read)
    named = {file: read_metadata(file).get(COMPONENT_KEY) for file in sorted(path.glob("*.safetensors"))}
    found = {name: file for file, name in reversed(named.items()) if name is not None}
    if len(found) > 1:
        parts = " and ".join(f"{file.name} of {name}" for name, file in sorted(found.items()))
        raise WeightsError(f"{path} mixes parts of two releases ({parts}): get the folder again")
    return next(iter(found), None)


def published_as(path: Path, candidates: Iterable[Component], cache: Path | None = None) -> str | None:
    """Return the name of the published component that weights are; None for the user's own.

    Weights are published ones when their digest is, when their metadata say that they were converted from such, or,
    of those that are published without a digest, when they lie where they were downloaded to.

    Args:
        path: A file, or a folder of tensors. It is read where no digest is noted beside it.
        candidates: What the weights may be.
        cache: The cache of `huggingface_hub`; None: nothing counts as downloaded.

    Raises:
        WeightsError: The files of a folder are parts of two components; both are named.
    """
    found = component_of(path, may_read=True)
    if found is not None:
        return found
    return next((part.name for part in candidates if _is_published(path, part, cache)), None)


def check_component(path: Path, model: str, allowed: Collection[str], *, may_read: bool = False) -> None:
    """Refuse weights that are known to be a component of another model.

    Args:
        path: A file, or a folder of safetensors.
        model: The model's name, for the message.
        allowed: Components that it can be made of, in this role.
        may_read: See `component_of`.

    Raises:
        WeightsError: It is another component; both are named.
    """
    found = component_of(path, may_read=may_read)
    if found is not None and found not in allowed:
        raise WeightsError(
            f"{path} is {found}, and {model} is made of {' or '.join(allowed)}: parts of two releases do not go "
            f"together; give the model that {found} belongs to, or weights of {model}"
        )


def _is_published(path: Path, component: Component, cache: Path | None) -> bool:
    """Say whether each file of weights is one of a component: by digest or, without a published one, by its place."""
    by_name = {file.path.rpartition("/")[2]: file for file in component.files}
    suffixes = {Path(name).suffix for name in by_name} - {".json", ".txt"}
    files = [path] if path.is_file() else [file for file in sorted(path.iterdir()) if file.suffix in suffixes]
    return bool(files) and all(
        file.name in by_name and _is_file_of(file, by_name[file.name], component, cache) for file in files
    )


def _is_file_of(path: Path, file: HubFile, component: Component, cache: Path | None) -> bool:
    if file.sha256 is not None:
        return known_digest(path) == file.sha256
    return cache is not None and path == in_cache(component, file, cache)


def _by_digest(path: Path, may_read: bool) -> str | None:
    """Find a file by its published digest; one that cannot be a published file is not read."""
    for component in components.COMPONENTS.values():
        for file in component.files:
            if not _could_be(path, file):
                continue
            if (known_digest(path) if may_read else current_digest(path)) == file.sha256:
                return component.name
    return None


def _could_be(path: Path, file: HubFile) -> bool:
    if file.sha256 is None or path.suffix != Path(file.path).suffix or not path.is_file():
        return False
    return file.size is None or file.size == path.stat().st_size
