"""Weights between those that a run began with and its own: most of what was learned, less of what was lost.

Source: weight-space ensembles (arXiv 2109.01903): a network and one trained on from it can be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from starvsr.errors import DataError
from starvsr.models.weight_ends import one_end
from starvsr.models.weights import read_tensors


def between_weights(start: Path, own: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return tensors at a place on the line from a file's to a run's own, in float32.

    Args:
        start: weights that the run began with.
        own: the run's tensors by name; those that the file does not have are taken as they are.
        share: 0 for those of the file, 1 for the run's own.

    Raises:
        DataError: the file has tensors that the run does not have, or some of another shape.
        WeightsError: it is missing or damaged.
    """
    begun = one_end(read_tensors(start))
    strange = [name for name, value in begun.items() if name not in own or own[name].shape != value.shape]
    if strange:
        raise DataError(
            f"{start} is no beginning of this run: {len(strange)} of its tensors do not fit ({strange[0]}, ...); "
            "give the weights of --start-from"
        )
    return {
        name: begun[name].float().lerp(value.float(), share) if name in begun else value for name, value in own.items()
    }
