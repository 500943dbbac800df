"""Where the parts of a published model lie on this machine. Never reaches the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from starvsr.errors import WeightsError
from starvsr.models.weights.cache import Places, locate
from starvsr.models.weights.components import Component, PartName, get_component
from starvsr.models.weights.model_folder import name_of
from starvsr.models.weights.releases import check_component


class FetchedModel(Protocol):
    """What must be known of a model to find its files: an entry of the registry has it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def parts(self) -> Mapping[str, tuple[PartName, ...]]:
        """The components that can play each role."""
        ...

    @property
    def layout(self) -> Mapping[str, str]:
        """Where each of its files lies in a model folder."""
        ...

    @property
    def weights_role(self) -> str:
        """The role that a bare file of weights plays."""
        ...

    def files_in(self, path: Path) -> Mapping[str, Path]:
        """Return its files in a folder, or in a file, as its authors publish them; none in a model folder."""
        ...


ModelFiles = Mapping[str, Path]
"""The files of a model: the tensors of each role by its name ("vae"), a file or folder that `read_tensors` takes; other
files by role and file name ("vae/config.json", "text/merges.txt")."""

TENSORS = (".safetensors", ".pt", ".pth", ".bin")
"""Suffixes of files of tensors."""


def find_model(spec: FetchedModel, weights: Path | None = None, places: Places | None = None) -> ModelFiles:
    """Return where every part of a published model lies.

    Args:
        spec: The model.
        weights: A file with the weights of its network, or a model folder, in place of its own.
        places: Where to look for the rest.

    Raises:
        WeightsError: a part is not on this machine; the message says which, where it was looked for, what next.
    """
    places = places or Places()
    own = places.own_folder()
    folder = weights if weights is not None and weights.is_dir() else own / spec.name if own and not weights else None
    found: dict[str, Path] = _files_of(spec, folder) if folder is not None else {}
    if weights is not None and weights.is_file():
        found |= spec.files_in(weights)
    if weights is not None and spec.weights_role not in found:
        if not weights.is_file():
            raise WeightsError(f"no weights at {weights}: give a .pt or .safetensors file, or a converted model folder")
        found[spec.weights_role] = weights
    _check_releases(spec, found, folder)
    missing = _find_parts(spec.parts, found, places, _tensorless(spec))
    if missing:
        verb, size = "is" if len(missing) == 1 else "are", sum(part.bytes for part in missing)
        raise WeightsError(
            f"{spec.name}: {', '.join(part.name for part in missing)} {verb} not on this machine (looked in "
            f"{places.describe()}): get what is missing with `starvsr models fetch {spec.name}` ({size / 1e9:.1f} GB)"
        )
    if spec.weights_role in spec.layout and spec.weights_role not in found:
        raise WeightsError(f"{spec.name} has no published weights: train it, and give what you trained with --weights")
    return {key: found[key] for key in spec.layout if key in found}


def files_of_folder(spec: FetchedModel, folder: Path) -> ModelFiles:
    """Return what a model folder holds itself; no part is looked for elsewhere.

    Raises:
        WeightsError: The folder, or a part in it, is of another model, or its network is missing.
    """
    found = _files_of(spec, folder)
    if spec.weights_role not in found:
        raise WeightsError(f"{folder} lacks {spec.layout[spec.weights_role]}: give a whole model folder of {spec.name}")
    _check_releases(spec, found, folder)
    return found


def find_start(
    start: PartName, model: FetchedModel, weights: Path | None = None, places: Places | None = None
) -> dict[str, Path]:
    """Return where the training of a published model finds what it starts from, and the parts that stay as they are.

    Args:
        start: Weights of the network ("venhancer", "star-light-unet"); "" for none, or with ``weights``.
        model: The model that is trained.
        weights: A file or a model folder with the weights of the network instead of ``start``.
        places: Where to look; its own folder may also be one that `starvsr models convert` wrote.

    Returns:
        Paths as in `ModelFiles`; none of the network's role without a start.

    Raises:
        WeightsError: something is not on this machine; the message names the commands that get it.
    """
    places = places or Places()
    own = places.own_folder()
    found: dict[str, Path] = _files_of(model, own) if own is not None else {}
    found.pop(model.weights_role, None)
    _check_releases(model, found)
    if weights is not None:
        if not weights.exists():
            raise WeightsError(f"no weights at {weights}: give a .pt or .safetensors file, or the name of a start")
        found[model.weights_role] = _files_of(model, weights).get(model.weights_role, weights)
    wanted: dict[str, tuple[PartName, ...]] = {r: names for r, names in model.parts.items() if r != model.weights_role}
    if start:
        wanted[model.weights_role] = (start,)
    missing = _find_parts(wanted, found, places, _tensorless(model))
    if missing:
        commands = "; ".join(f"starvsr models fetch {part.name}" for part in missing)
        raise WeightsError(
            f"{', '.join(part.name for part in missing)} not on this machine (looked in {places.describe()}): get what "
            f"is missing ({sum(part.bytes for part in missing) / 1e9:.1f} GB) with `{commands}`"
        )
    return found


def _check_releases(model: FetchedModel, found: Mapping[str, Path], folder: Path | None = None) -> None:
    """Refuse a folder of another model, and files that are known to be parts of another one."""
    name = None if folder is None else name_of(folder)
    if name is not None and name != model.name:
        raise WeightsError(
            f"{folder} is a model folder of {name}, and the model is {model.name}: give --model {name}, or weights of "
            f"{model.name}"
        )
    for role, names in model.parts.items():
        if role in found:
            check_component(found[role], model.name, [get_component(name).name for name in names])


def _tensorless(model: FetchedModel) -> set[str]:
    """Return the roles that are files without tensors, such as a tokenizer or the settings of a scheduler."""
    return {key.partition("/")[0] for key in model.layout} - model.layout.keys()


def _find_parts(
    parts: Mapping[str, tuple[PartName, ...]], found: dict[str, Path], places: Places, tensorless: Collection[str]
) -> list[Component]:
    """Add the files of the roles that nothing was found for yet; return the components that are not there."""
    missing = []
    for role, names in parts.items():
        if role in found or (role in tensorless and any(key.startswith(f"{role}/") for key in found)):
            continue
        options = [get_component(name) for name in names]
        files = next((paths for part in options if (paths := _parts_of(part, places))), None)
        if files is None:
            missing.append(options[0])
        else:
            found |= files
    return missing


def _parts_of(part: Component, places: Places) -> dict[str, Path] | None:
    """Return the files of a component by what they are to a model."""
    paths = locate(part, places)
    if paths is None:
        return None
    tensors = [path for path in paths.values() if path.suffix in TENSORS]
    found = {f"{part.role}/{path.name}": path for path in paths.values() if path.suffix not in TENSORS}
    if tensors:
        found[part.role] = tensors[0] if len(tensors) == 1 else tensors[0].parent  # several files have an index there
    return found


def _files_of(model: FetchedModel, folder: Path) -> dict[str, Path]:
    """Return what a folder holds: a model folder, or one as the model's authors publish it."""
    return _parts_of_folder(folder, model.layout) or (dict(model.files_in(folder)) if folder.is_dir() else {})


def _parts_of_folder(folder: Path, layout: Mapping[str, str]) -> dict[str, Path]:
    """Return what a model folder holds, by what it is to a model; nothing when it is none."""
    if not (folder / "model_index.json").is_file():
        return {}
    return {key: folder / place for key, place in layout.items() if (folder / place).exists()}
