"""Which model a bare file of weights belongs to, by the names of its tensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from starvsr.errors import OptionError, WeightsError
from starvsr.families.entry import Entry
from starvsr.families.registry import MODELS
from starvsr.models.weight_ends import FAITHFUL
from starvsr.models.weights import read_metadata, read_tensors
from starvsr.models.weights.model_folder import class_of, name_of


def models_of(tensor_names: Collection[str]) -> list[str]:
    """Return the models whose networks have tensors of these names; [] when no family knows them.

    A file with two ends of a training has each name twice, with the end before it.
    """
    names = {name.removeprefix(FAITHFUL) for name in tensor_names}
    return [entry.name for entry in MODELS.values() if entry.marks and names.issuperset(entry.marks)]


def check_weights(entry: Entry, path: Path) -> None:
    """Refuse a file that holds the weights of another model; what no family knows is left to the loader.

    Raises:
        WeightsError: the file is of another model or of two (all are named), or damaged.
    """
    found = _released_as(path)
    if not found and path.is_file():
        found = _models_in(path)
    if found and entry.name not in found:
        raise WeightsError(
            f"{path} holds weights of {' or '.join(found)}, and the model is {entry.name}: give --model {found[0]}, or "
            f"weights of {entry.name}"
        )


def entry_with_folder(path: Path) -> Entry:
    """Return a model that can be written as a model folder and whose network a bare file of weights fits.

    Args:
        path: The file, or a folder as the authors of a model publish it.

    Raises:
        WeightsError: the file is of no such model, or damaged.
    """
    found = _released_as(path) or _models_in(path)
    usable = [entry for entry in MODELS.values() if entry.folder is not None]
    like = next((entry for entry in usable if entry.name in found), usable[0])
    if found and like.name not in found:
        names = " or ".join(entry.name for entry in usable)
        raise WeightsError(f"{path} holds weights of {' or '.join(found)}: only {names} can be written as a folder")
    return like


def entry_of_model_folder(folder: Path) -> Entry | None:
    """Return the model that a model folder is of, by the name or else the pipeline class in its index.

    Args:
        folder: As `starvsr models convert`, a training run or diffusers writes it.

    Returns:
        The model, or the first of those that share the class; None without an index, and for a folder of another
        model in which weights lie as the authors of one of ours publish them (LoRA beside CogVideoX).

    Raises:
        WeightsError: The folder is of a model that cannot be written as one.
    """
    name, pipeline = name_of(folder), class_of(folder)
    if pipeline is None:
        return None
    usable = [entry for entry in MODELS.values() if entry.folder is not None]
    found = [each for each in usable if each.folder_class == pipeline and name in (each.name, None)]
    if not found and _released_as(folder):
        return None
    if not found:
        names = " or ".join(each.name for each in usable)
        raise WeightsError(f"{folder} is a model folder of {name or pipeline}: only {names} can be written as a folder")
    return found[0]


def _released_as(path: Path) -> list[str]:
    """Return the models whose authors publish weights as they lie here; [] for any other file or folder.

    Raises:
        WeightsError: They are damaged or refused.
    """
    return [entry.name for entry in MODELS.values() if entry.files_in(path)]


def _models_in(path: Path) -> list[str]:
    """Return the models of one family that a file may be of: by the name in its metadata, or by those of its tensors.

    Raises:
        WeightsError: the file has tensors of two families, names another model than its tensors do, or is damaged.
    """
    tensors = read_tensors(path)
    found, told = models_of(tensors), read_metadata(path).get("model")
    families = {entry.marks: entry.name for entry in reversed(_touched_by(tensors))}
    if len(families) > 1:
        names = " and ".join(sorted(families.values()))
        raise WeightsError(f"{path} mixes tensors of {names}: give a file with the weights of one model")
    if told in MODELS and found and told not in found:
        raise WeightsError(
            f"{path} says that it is {told} and has the tensors of {' or '.join(found)}: give a file with the weights "
            "of one model"
        )
    return [told] if told is not None and told in found else found


def _touched_by(tensor_names: Collection[str]) -> list[Entry]:
    """Return the models that have at least one of their marks among these names."""
    names = {name.removeprefix(FAITHFUL) for name in tensor_names}
    return [entry for entry in MODELS.values() if not names.isdisjoint(entry.marks)]


def model_for(path: Path) -> str:
    """Return the one model that a file of weights belongs to.

    Raises:
        OptionError: no family knows its tensors, or several models of one family are made like this.
        WeightsError: the file is missing or damaged.
    """
    found = _released_as(path) or _models_in(path)
    if len(found) != 1:
        choice = f"it may be {' or '.join(found)}" if found else "no model has tensors of these names"
        raise OptionError(f"{path}: {choice}; say which with --model")
    return found[0]
