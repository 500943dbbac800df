"""Where the parts of a published model lie on this machine. Never reaches the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starvsr.errors import WeightsError
from starvsr.models.weights.cache import Places, locate
from starvsr.models.weights.components import Component, get_component


class FetchedModel(Protocol):
    """What must be known of a model to find its files: an entry of the registry has it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the components that can play each role."""
        ...


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model. `read_tensors` reads ``unet``, ``vae`` and ``text``, be they files or folders.

    Args:
        unet: Weights of UNet and ControlNet.
        vae: Weights of the VAE, in the names of `diffusers`.
        vae_config: Its architecture.
        text: Weights of the text tower, in the layout of `transformers` or of OpenCLIP.
        text_config: Its architecture, where the layout is that of `transformers`.
        merges: Merges of the tokenizer.
    """

    unet: Path
    vae: Path | None = None
    vae_config: Path | None = None
    text: Path | None = None
    text_config: Path | None = None
    merges: Path | None = None


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
    found: dict[str, Path] = _parts_of_folder(folder) if folder is not None else {}
    if weights is not None and "unet" not in found:
        if not weights.is_file():
            raise WeightsError(f"no weights at {weights}: give a .pt or .safetensors file, or a converted model folder")
        found["unet"] = weights
    missing = _find_parts(spec.parts, found, places)
    if missing:
        verb, size = "is" if len(missing) == 1 else "are", sum(part.bytes for part in missing)
        raise WeightsError(
            f"{spec.name}: {', '.join(part.name for part in missing)} {verb} not on this machine (looked in "
            f"{places.describe()}): get what is missing with `starvsr models fetch {spec.name}` ({size / 1e9:.1f} GB)"
        )
    return ModelFiles(**found)


def find_start(
    start: str, parts: Mapping[str, tuple[str, ...]], weights: Path | None = None, places: Places | None = None
) -> dict[str, Path]:
    """Return where the training of a published model finds what it starts from, and the parts that stay as they are.

    Args:
        start: Name of the weights of the network ("venhancer", "star-light-unet"); "" for none, or with ``weights``.
        parts: The other parts, by role, as in a model's registry entry.
        weights: A file or a model folder with the weights of the network in the place of ``start``.
        places: Where to look; its own folder may also be one that `starvsr models convert` wrote.

    Returns:
        Paths by the names of :class:`ModelFiles`; no "unet" without a start.

    Raises:
        WeightsError: something is not on this machine; the message names the commands that get it.
    """
    places = places or Places()
    own = places.own_folder()
    found: dict[str, Path] = _parts_of_folder(own) if own is not None else {}
    found.pop("unet", None)
    if weights is not None:
        if not weights.exists():
            raise WeightsError(f"no weights at {weights}: give a .pt or .safetensors file, or the name of a start")
        found["unet"] = _parts_of_folder(weights).get("unet", weights)
    wanted: dict[str, tuple[str, ...]] = {role: names for role, names in parts.items() if role != "unet"}
    if start:
        wanted["unet"] = (start,)
    missing = _find_parts(wanted, found, places)
    if missing:
        commands = "; ".join(f"starvsr models fetch {part.name}" for part in missing)
        raise WeightsError(
            f"{', '.join(part.name for part in missing)} not on this machine (looked in {places.describe()}): get what "
            f"is missing ({sum(part.bytes for part in missing) / 1e9:.1f} GB) with `{commands}`"
        )
    return found


def _find_parts(parts: Mapping[str, tuple[str, ...]], found: dict[str, Path], places: Places) -> list[Component]:
    """Add the files of the roles that nothing was found for yet; return the components that are not there."""
    missing = []
    for role, names in parts.items():
        if role in found:
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
    found = {}
    for path in paths.values():
        if path.name == "merges.txt":
            found["merges"] = path
        elif path.name == "config.json":
            found[f"{part.role}_config"] = path
        else:
            found[part.role] = path
    return found


def _parts_of_folder(folder: Path) -> dict[str, Path]:
    """Return what a model folder holds, by what it is to a model; nothing when it is none."""
    if not (folder / "model_index.json").is_file():
        return {}
    candidates = {
        "unet": folder / "unet",
        "vae": folder / "vae",
        "vae_config": folder / "vae" / "config.json",
        "text": folder / "text_encoder",
        "merges": folder / "tokenizer" / "merges.txt",
    }
    config = folder / "text_encoder" / "config.json"
    if config.is_file() and "TextTower" not in config.read_text():  # that is the layout of OpenCLIP
        candidates["text_config"] = config
    return {name: path for name, path in candidates.items() if path.exists()}
