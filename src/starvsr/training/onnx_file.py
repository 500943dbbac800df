"""Weights of a training run, or exported ones, as an ONNX file for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from starvsr.errors import DataError, OptionError
from starvsr.families.entry import Entry
from starvsr.families.registry import MODELS
from starvsr.models.weights import read_metadata
from starvsr.training.run import export
from starvsr.video.write.publish import check_output


def export_onnx(
    source: Path,
    path: Path | None = None,
    *,
    raw: bool = False,
    faithful: Path | None = None,
    detail: float | None = None,
) -> Path:
    """Write an ONNX file.

    Args:
        source: folder of a run, or weights that ``starvsr export`` wrote.
        path: target, ``*.onnx``; None is ``weights.onnx`` in the run's folder, or beside the weights. What is there is
            replaced, as other exports are.
        raw: of a run, the last weights instead of their average.
        faithful: of a run, weights exported before it was trained for looks.
        detail: place between the two ends, 0 to 1; None is halfway.

    Returns:
        The target.

    Raises:
        DataError: no such run or file, or weights that do not tell their model.
        OptionError: a model or name for which there is no ONNX file, missing packages, a detail without two ends.
        WeightsError: damaged weights.
    """
    if not source.exists():
        raise DataError(f"{source}: there is no such run or file; give a run's folder, or exported weights")
    path = path or (source / "weights.onnx" if source.is_dir() else source.with_suffix(".onnx"))
    if path.suffix != ".onnx":
        raise OptionError(f"{path}: give a name that ends in .onnx")
    check_output(path, inputs=() if source.is_dir() else (source,), overwrite=True)
    if source.is_file():
        if raw or faithful is not None:
            raise OptionError("--raw and --faithful are for runs: leave them out for a file of weights")
        _entry_of(source).write_onnx(source, path, detail=detail)
        return path
    with tempfile.TemporaryDirectory(prefix="starvsr-") as folder:
        weights = export(source, Path(folder) / "weights.safetensors", raw=raw, faithful=faithful)
        _entry_of(weights).write_onnx(weights, path, detail=detail)
    return path


def _entry_of(weights: Path) -> Entry:
    name = read_metadata(weights).get("model", "")
    if name not in MODELS:
        raise DataError(f"{weights} does not tell its model: give weights that `starvsr export` wrote")
    entry = MODELS[name]
    if entry.onnx_writer is None:
        able = ", ".join(other.name for other in MODELS.values() if other.onnx_writer is not None)
        raise OptionError(f"{name} cannot be written as an ONNX file; this works with {able}")
    return entry
