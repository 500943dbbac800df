"""The part of ComfyUI that the nodes use, after its documentation: V3 schemas, progress, interruption, folders.

Put in place of ComfyUI's modules by `installed`, for machines without ComfyUI; tests/apps/comfy/test_in_comfyui.py runs
the same nodes in the program itself.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any


class InterruptProcessingException(BaseException):
    """What ends a run in ComfyUI."""


class _Input:
    kind = ""

    def __init__(self, id: str, *, optional: bool = False, tooltip: str | None = None, **details: Any) -> None:
        self.id, self.optional, self.tooltip, self.details = id, optional, tooltip, details


class _Output:
    def __init__(self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None) -> None:
        self.id, self.display_name, self.tooltip = id, display_name, tooltip


def _type(name: str) -> Any:
    return types.SimpleNamespace(
        Input=type(f"{name}Input", (_Input,), {"kind": name}), Output=type(f"{name}Output", (_Output,), {"kind": name})
    )


@dataclasses.dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    inputs: list[Any]
    outputs: list[Any]
    description: str = ""
    is_output_node: bool = False


class NodeOutput:
    def __init__(self, *result: Any, ui: Any = None) -> None:
        self.result, self.ui = result, ui


class VideoFromFile:
    def __init__(self, file: Any, start_time: float = 0, duration: float = 0) -> None:
        self.file, self.window = file, (start_time, duration)

    def get_stream_source(self) -> Any:
        return self.file

    def get_active_trim_window(self) -> tuple[float, float]:
        return self.window


class Host:
    """What a run sees of ComfyUI, and what tests see of a run.

    Args:
        folder: Its base folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_interrupted = False
        self.progress: list[tuple[float, float]] = []
        self.on_progress: Any = lambda value, total: None

    def interrupted(self) -> bool:
        return self.is_interrupted

    def throw(self) -> None:
        if self.is_interrupted:
            self.is_interrupted = False
            raise InterruptProcessingException

    def modules(self) -> dict[str, types.ModuleType]:
        """Return the modules that stand in for ComfyUI's."""
        host = self

        class ProgressBar:
            def __init__(self, total: float) -> None:
                self.total = total

            def update_absolute(self, value: float, total: float | None = None) -> None:
                host.progress.append((value, total or self.total))
                host.on_progress(value, total)
                host.throw()

        def get_save_image_path(prefix: str, folder: str, width: int, height: int) -> tuple[str, str, int, str, str]:
            sub, _, name = prefix.rpartition("/")
            return str(Path(folder) / sub), name, 1, sub, prefix

        names = ("Float", "Int", "String", "Combo", "Boolean", "Image", "Video")
        io = types.SimpleNamespace(
            **{name: _type(name.upper()) for name in names},
            Custom=_type,
            ComfyNode=object,
            Schema=Schema,
            NodeOutput=NodeOutput,
            FolderType=types.SimpleNamespace(output="output"),
        )
        ui = types.SimpleNamespace(SavedResult=lambda *words: words, PreviewVideo=list)
        management = {
            "processing_interrupted": self.interrupted,
            "throw_exception_if_processing_interrupted": self.throw,
            "get_torch_device": lambda: "cpu",
            "soft_empty_cache": lambda: None,
        }
        folders = {
            "models_dir": str(self.folder / "models"),
            "add_model_folder_path": lambda name, path: None,
            "get_folder_paths": lambda name: [str(self.folder / "models" / name)],
            "get_output_directory": lambda: str(self.folder / "output"),
            "get_temp_directory": lambda: str(self.folder / "temp"),
            "get_save_image_path": get_save_image_path,
        }
        made = {
            "comfy": {"__path__": []},
            "comfy.model_management": management,
            "comfy.utils": {"ProgressBar": ProgressBar},
            "comfy_api": {"__path__": []},
            "comfy_api.latest": {
                "ComfyExtension": object,
                "InputImpl": types.SimpleNamespace(VideoFromFile=VideoFromFile),
                "io": io,
                "ui": ui,
            },
            "folder_paths": folders,
        }
        modules = {}
        for name, contents in made.items():
            modules[name] = types.ModuleType(name)
            modules[name].__dict__.update(contents)
        modules["comfy"].__dict__.update(
            model_management=modules["comfy.model_management"], utils=modules["comfy.utils"]
        )
        return modules


def installed(folder: Path, monkeypatch: Any) -> tuple[Host, Any]:
    """Put the double in place and return it with the module of the nodes, imported anew."""
    import importlib

    host = Host(folder)
    for name, module in host.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    import starvsr.apps.comfy as package

    for name in ("host", "schemas", "video_node", "nodes"):
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)
    nodes = importlib.import_module("starvsr.apps.comfy.nodes")
    return host, nodes


def object_info(node: Any) -> dict[str, Any]:
    """Return what ComfyUI's page is told of a node."""
    told: dict[str, Any] = {"required": {}, "optional": {}}
    for one in node.define_schema().inputs:
        told["optional" if one.optional else "required"][one.id] = [one.kind, one.details]
    return {"input": told}
