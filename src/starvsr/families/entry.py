"""One model in the registry: what it is called, what it is made of, and how it is loaded. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.errors import OptionError

if TYPE_CHECKING:
    from starvsr.engine.upscaler import Upscaler
    from starvsr.models.weights.components import Component, PartName
    from starvsr.models.weights.locate import ModelFiles
    from starvsr.models.weights.model_folder import FolderPart


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model; families add what their networks need.

    Args:
        name: What users call it.
        summary: One line.
        scale: Output pixels per input pixel along each side.
        licence: Of its network; fetched parts have licences of their own (models/weights/components.py).
        settings: Dataclass of the options that it honours.
        loader: The function that loads it, as "module:function"; called as ``function(entry, device=..., **options)``.
        parts: The components that can play each role, by name (models/weights/components.py) or, if no other family
            uses them, as they are; the first is fetched, any that is there is used.
        layout: Where each of its files lies in a model folder, by role and file name (models/weights/locate.py).
        starts: Published weights that its training begins with and that are no part of it, by the names that recipes
            use.
        weights_role: The role that a bare file of weights plays.
        folder: The function that lists the parts of its model folder, as "module:function"; called as
            ``function(entry, files)``; None if it has no model folder.
        folder_class: Class that opens the folder as a whole, for its index.
        packaged: File of its weights in the package; None when they are fetched, or none are needed.
        is_trained: False: it has no weights yet, and works with a file that the user gives.
        onnx_writer: The function that writes its weights as an ONNX file, as "module:function"; called as
            ``function(entry, weights, path, detail=...)``; None if there is none.
        marks: Names of tensors that networks of this family have and those of others do not.
    """

    name: str
    summary: str
    scale: int
    licence: str
    settings: type
    loader: str
    parts: Mapping[str, tuple[PartName, ...]] = field(default_factory=dict)
    layout: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, PartName] = field(default_factory=dict)
    weights_role: str = "unet"
    folder: str | None = None
    folder_class: str = ""
    packaged: str | None = None
    is_trained: bool = True
    onnx_writer: str | None = None
    marks: tuple[str, ...] = ()

    def load(self, *, device: str = "cpu", **options: Any) -> Upscaler:
        """Load the model."""
        upscaler: Upscaler = _named(self.loader)(self, device=device, **options)
        return upscaler

    def write_onnx(self, weights: Path, path: Path, *, detail: float | None = None) -> None:
        """Write weights of this model as an ONNX file.

        Raises:
            OptionError: There is no such form of it, or packages are missing.
            WeightsError: The weights are missing, damaged, or not of this model.
        """
        if self.onnx_writer is None:
            raise OptionError(f"{self.name} cannot be written as an ONNX file")
        _named(self.onnx_writer)(self, weights, path, detail=detail)

    def folder_parts(self, files: ModelFiles, *, cache: Path | None = None) -> list[FolderPart]:
        """Return the parts of the model folder that `starvsr models convert` writes.

        Args:
            files: Where its files lie.
            cache: The cache of `huggingface_hub`: what lies there and is published without a digest counts as fetched.

        Raises:
            WeightsError: A part is missing, damaged, or not of this model.
        """
        assert self.folder is not None
        parts: list[FolderPart] = _named(self.folder)(self, files)
        return [self._with_origin(part, cache) for part in parts]

    def _with_origin(self, part: FolderPart, cache: Path | None) -> FolderPart:
        """Note which published component the tensors of a part are, or that they are the user's own."""
        from starvsr.models.weights.components import get_component
        from starvsr.models.weights.releases import published_as

        if part.source is None:
            return part
        found = published_as(part.source, map(get_component, self.parts.get(part.role, ())), cache)
        return replace(part, component=found, is_own=found is None)

    def files_in(self, path: Path) -> ModelFiles:
        """Return its files in a folder, or in a file, as its authors publish them; none in a model folder.

        Raises:
            WeightsError: The files are of such a release, and damaged or refused.
        """
        return {}

    def packaged_weights(self) -> Path:
        """Return the path of the weights that come with the package."""
        assert self.packaged is not None
        with as_file(files("starvsr") / "weights" / self.packaged) as path:
            return path

    def components(self) -> list[Component]:
        """Return the components that `starvsr models fetch` gets."""
        from starvsr.models.weights.components import get_component

        return [get_component(names[0]) for names in self.parts.values()]


def _named(reference: str) -> Any:
    """Import what "module:name" names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
