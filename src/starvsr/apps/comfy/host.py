"""What the nodes ask of ComfyUI: the device and its memory, folders, progress, whether the user has stopped them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths

from starvsr.engine.progress import CancelToken, Progress
from starvsr.errors import Cancelled

WEIGHTS_FOLDER = "starvsr"
NO_WEIGHTS = "default"
_ALL = 1e30  # bytes: as ComfyUI itself asks for everything


class HostCancelToken(CancelToken):
    """Is cancelled when the user presses ComfyUI's button."""

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked the work to stop."""
        return super().is_cancelled or bool(comfy.model_management.processing_interrupted())

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled when somebody asked the work to stop."""
        if self.is_cancelled:
            raise Cancelled("stopped in ComfyUI")


@contextmanager
def interruptions() -> Iterator[CancelToken]:
    """Turn what the work raises when it is stopped into what ComfyUI expects."""
    try:
        yield HostCancelToken()
    except Cancelled:
        comfy.model_management.throw_exception_if_processing_interrupted()
        raise


def progress_bar() -> Callable[[Progress], None]:
    """Return what shows progress on the node that is at work."""
    bar: Any = None

    def show(progress: Progress) -> None:
        nonlocal bar
        total = progress.num_frames
        if progress.stage not in ("upscaling", "joining", "done") or not total:
            return
        if bar is None:
            bar = comfy.utils.ProgressBar(total)
        bar.update_absolute(min(progress.num_done + progress.fraction, total), total)

    return show


def device() -> str:
    """Return ComfyUI's device for models."""
    return str(comfy.model_management.get_torch_device())


@contextmanager
def whole_device(name: str) -> Iterator[None]:
    """Let ComfyUI move its own models off a device before the work is planned, and give back what is left behind it."""
    import torch

    if name != "cpu":
        comfy.model_management.free_memory(_ALL, torch.device(name))
    try:
        yield
    finally:
        comfy.model_management.soft_empty_cache()


def tell(notes: Iterable[str]) -> None:
    """Write what the user should read on a result into ComfyUI's log, which its page shows."""
    for note in notes:
        logging.warning("StarVSR: %s", note)


def register_weights_folder() -> None:
    """Make ``models/starvsr`` known, where weights of the user lie."""
    folder_paths.add_model_folder_path(WEIGHTS_FOLDER, os.path.join(folder_paths.models_dir, WEIGHTS_FOLDER))


def weights_names() -> list[str]:
    """Return the files and model folders in ``models/starvsr``."""
    found = set()
    for folder in map(Path, folder_paths.get_folder_paths(WEIGHTS_FOLDER)):
        if folder.is_dir():
            found |= {path.name for path in folder.iterdir() if path.is_dir() or path.suffix in (".safetensors", ".pt")}
    return sorted(found)


def weights_path(name: str) -> str | None:
    """Return the path of a name of `weights_names`; None for the model's own weights."""
    if name == NO_WEIGHTS:
        return None
    for folder in map(Path, folder_paths.get_folder_paths(WEIGHTS_FOLDER)):
        if (folder / name).exists():
            return str(folder / name)
    return str(Path(folder_paths.models_dir) / WEIGHTS_FOLDER / name)  # which the loader refuses by name


def output_place(prefix: str, width: int, height: int) -> tuple[Path, str, str]:
    """Return the folder, the beginning of the name and the subfolder that a prefix stands for."""
    folder, name, _, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), width, height
    )
    return Path(folder), name, subfolder


def temp_folder() -> Path:
    """Return the folder that ComfyUI empties."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
