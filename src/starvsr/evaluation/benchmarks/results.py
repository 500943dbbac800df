"""Run a model over the clips: lossless results, each under its name only when it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.api import prepare
from starvsr.errors import InputError
from starvsr.evaluation.benchmarks.inputs import ReadyClip
from starvsr.evaluation.benchmarks.methods import Method
from starvsr.video.write.publish import as_output_error, replace_file

if TYPE_CHECKING:
    from starvsr.engine.progress import CancelToken
    from starvsr.engine.upscaler import Upscaler

_LOSSLESS = {"codec": "ffv1", "pixel_format": "bgr0", "overwrite": True}
_MADE_BY = "made_by.json"


class Results:
    """The results of one model.

    Args:
        folder: where they are kept, a file for each clip.
        method: the model.
        shared: options of all models: where they compute.

    Raises:
        InputError: the folder holds results of another model of this name, or of one with other options.
        OutputError: the system refuses.
    """

    def __init__(self, folder: Path, method: Method, shared: Mapping[str, Any]) -> None:
        self._folder, self._method, self._shared = folder, method, shared
        self.made_by = method.record()
        self._loaded: dict[int, Upscaler] = {}
        self._claim()

    def path(self, clip: ReadyClip) -> Path:
        """Return where the result of a clip is kept."""
        return self._folder / f"{clip.name}.mkv"

    def upscale(self, clip: ReadyClip, cancel: CancelToken | None = None) -> Path:
        """Make the result of a clip, or go on with one that was interrupted; one that is there is not made again.

        Raises:
            StarVsrError: it cannot be made.
        """
        target = self.path(clip)
        if target.is_file():
            return target
        upscaler = self._upscaler(clip.scale)
        own: dict[str, Any] = {**_LOSSLESS, "scale": clip.scale}
        if clip.lq.info.has_alpha:
            own["alpha"] = "drop"
        job = prepare(clip.lq.path, target, self._method.upscale_options(self._shared, **own), upscaler=upscaler)
        job.run(cancel=cancel)
        return target

    def unload(self) -> None:
        """Let go of the model."""
        self._loaded.clear()

    def _upscaler(self, scale: int) -> Upscaler:
        key = scale if self._method.model == "lanczos" else 0
        if key not in self._loaded:
            self._loaded[key] = self._method.load(self._shared, scale)
        return self._loaded[key]

    def _claim(self) -> None:
        """Write down which model makes the results of this folder, or hold it against what is written there."""
        path = self._folder / _MADE_BY
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                before = json.loads(path.read_text(encoding="utf-8"))
                if before != self.made_by:
                    raise InputError(self._other(before))
                return
            replace_file(path, (json.dumps(self.made_by, indent=1) + "\n").encode())
        except ValueError:
            raise InputError(f"{path}: is damaged; remove {self._folder} to make its results anew") from None
        except OSError as error:
            raise as_output_error(path, error) from None

    def _other(self, before: Mapping[str, Any]) -> str:
        told = [f"{key} {self.made_by.get(key)} for {before.get(key)}" for key in ("model", "options", "files")]
        differs = ", ".join(
            text
            for text, key in zip(told, ("model", "options", "files"), strict=True)
            if self.made_by.get(key) != before.get(key)
        )
        label = self._method.label
        return (
            f"{self._folder}: holds results of another model ({differs}): name this one otherwise, as "
            f"{label}-2={label}, or remove the folder"
        )
