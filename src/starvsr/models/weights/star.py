"""STAR's own checkpoints into a STAR network: the published ones as they are, VEnhancer's to start training from.

The names in both kinds of file are the names in :class:`StarUNet`; what differs is listed here, and nothing else may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights.assign import adopt, build_empty, check_fit, fit
from starvsr.models.weights.tensors import read_tensors

VENHANCER_ONLY = tuple(
    f"VideoControlNet.{layer}.{kind}"
    for layer in ("hint_time_zero_linear", "scale_cond.0", "scale_cond.2")
    for kind in ("weight", "bias")
)
"""What VEnhancer's ControlNet has beyond STAR's: embeddings of the hint's noise level and of the scale."""


@dataclass(frozen=True)
class TrainingStart:
    """A network with the weights that its training starts from.

    Args:
        network: The network, float parameters of one type.
        new: Names of the tensors that the file does not have; they are freshly drawn.
        dropped: Names in the file that the network has no use for.
    """

    network: StarUNet
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def load_star_unet(path: Path, config: StarUNetConfig | None = None, *, dtype: torch.dtype | None = None) -> StarUNet:
    """Load a STAR checkpoint (a file, or the ``unet`` folder that `starvsr models convert` writes).

    The parameters are mapped from the file: peak memory is that of the parameters themselves, read as they are used.

    Args:
        path: `.pt` or `.safetensors` file, or a folder.
        config: Sizes of the network; None is the published one.
        dtype: Number type of the parameters; None keeps the file's.

    Returns:
        The network in evaluation mode.

    Raises:
        WeightsError: missing, damaged, or not exactly this network's tensors.
    """
    network = build_empty(lambda: StarUNet(config or StarUNetConfig()))
    tensors = read_tensors(path)
    if is_venhancer(tensors):
        raise WeightsError(
            f"{path} is a checkpoint of VEnhancer, which training starts from, not of STAR: "
            "give light_deg.pt or heavy_deg.pt, or train from it first"
        )
    fit(network, tensors, path, dtype=dtype)
    return network.eval()


def load_training_start(
    path: Path, config: StarUNetConfig | None = None, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> TrainingStart:
    """Load a VEnhancer checkpoint into a STAR network: the LIEM gates are new, six tensors are dropped.

    Args:
        path: `.pt` or `.safetensors` file.
        config: Sizes of the network; None is the published one.
        dtype: Number type of the parameters.
        seed: Seed of the new tensors.

    Raises:
        WeightsError: the file does not hold exactly the other tensors.
    """
    network = build_empty(lambda: StarUNet(config or StarUNetConfig()))
    wanted, tensors = network.state_dict(), read_tensors(path)
    new = liem_names(wanted)
    check_fit(wanted, tensors, path, new=new, dropped=VENHANCER_ONLY)
    for name in VENHANCER_ONLY:
        del tensors[name]
    adopt(network, tensors, dtype)
    _draw_new(network, dtype, seed)
    return TrainingStart(network, new, VENHANCER_ONLY)


def liem_names(wanted: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the gates of the Local Information Enhancement Module (73 in the published network)."""
    return tuple(name for name in wanted if ".local1." in name or ".local2." in name)


def is_venhancer(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of VEnhancer rather than of STAR."""
    return any(name in names for name in VENHANCER_ONLY)


def _draw_new(network: StarUNet, dtype: torch.dtype, seed: int) -> None:
    """Give the layers that are still without memory fresh values, as their own constructors do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            own = list(module.parameters(recurse=False))
            if own and all(parameter.is_meta for parameter in own):
                module.to_empty(device="cpu", recurse=False)
                module.reset_parameters()  # type: ignore[operator]
                module.to(dtype)
