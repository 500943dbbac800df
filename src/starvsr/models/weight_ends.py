"""Two ends of one training in one file of weights: faithful and vivid, and everything between them.

A network that is trained further for perceptual quality stays near where it was, so that weights between the two give
results between theirs, at no extra time.

Source: network interpolation as in ESRGAN (arXiv 1809.00219).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from starvsr.errors import WeightsError

FAITHFUL, VIVID = "faithful.", "vivid."


def join_ends(faithful: Mapping[str, Tensor], vivid: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put two sets of weights of one network into one.

    Raises:
        WeightsError: they are not of one network.
    """
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (faithful, vivid)]
    if shapes[0] != shapes[1]:
        differing = sorted(
            name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)
        )
        raise WeightsError(f"the two ends are not of one network: they differ in {', '.join(differing[:5])}")
    ends = {FAITHFUL + name: tensor for name, tensor in faithful.items()}
    return ends | {VIVID + name: tensor for name, tensor in vivid.items()}


def has_ends(tensors: Mapping[str, Tensor]) -> bool:
    """Whether weights hold two ends."""
    return any(name.startswith(FAITHFUL) for name in tensors)


def one_end(tensors: Mapping[str, Tensor], end: str = VIVID) -> dict[str, Tensor]:
    """Return the weights of one end (``FAITHFUL`` or ``VIVID``); those of a file with one are returned as they are."""
    if not has_ends(tensors):
        return dict(tensors)
    return {name.removeprefix(end): tensor for name, tensor in tensors.items() if name.startswith(end)}


def between_ends(tensors: Mapping[str, Tensor], detail: float) -> dict[str, Tensor]:
    """Return the weights at a place between the ends, float32: 0 is the faithful one, 1 the vivid one.

    Raises:
        WeightsError: an end is incomplete.
    """
    names = [name.removeprefix(FAITHFUL) for name in tensors if name.startswith(FAITHFUL)]
    missing = [name for name in names if VIVID + name not in tensors]
    if missing or len(tensors) != 2 * len(names):
        raise WeightsError(f"weights with two ends are incomplete ({', '.join(missing[:5])}): export them again")
    return {name: tensors[FAITHFUL + name].float().lerp(tensors[VIVID + name].float(), detail) for name in names}
