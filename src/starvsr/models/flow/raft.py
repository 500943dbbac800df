"""RAFT-large by torchvision, which StableVSR was trained with.

Source: Teed and Deng 2020 (arXiv 2003.12039); weights C_T_SKHT_V2 of torchvision.
"""

from __future__ import annotations

import copy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import OptionError, WeightsError
from starvsr.models.flow.correlation import ChunkedCorrelation

MIN_SIDE_PX, MULTIPLE_PX = 128, 8
NUM_UPDATES = 12
WEIGHTS_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
"""Name of the weights in the folder of torch.hub; its end is the beginning of their SHA-256."""


class RaftFlow:
    """A :class:`~starvsr.models.flow.estimator.FlowEstimator`.

    Args:
        network: [B, 3, H, W] twice and ``num_flow_updates`` -> list of flows, the last one counts.
    """

    name = "torchvision RAFT-large C_T_SKHT_V2, 12 updates"

    def __init__(self, network: Any) -> None:
        self.network = network

    def in_chunks(self) -> RaftFlow | None:
        """Return an estimator with the same weights that never holds the table of every pixel against every other.

        Its flow differs by rounding, and takes longer: the table is computed anew in each update. None if the network
        has no such table that is known.
        """
        block = getattr(self.network, "corr_block", None)
        if block is None or not all(hasattr(block, name) for name in ("num_levels", "radius", "index_pyramid")):
            return None
        network = copy.copy(self.network)
        network._modules = {**self.network._modules}  # shared but for this one
        network.corr_block = ChunkedCorrelation(block.num_levels, block.radius)
        return RaftFlow(network)

    @torch.no_grad()
    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        """Return the flow [B, 2, H, W] from frames to others, see the protocol.

        Raises:
            OptionError: a side is below 128 pixels, or no multiple of 8.
        """
        height, width = frames.shape[-2:]
        if min(height, width) < MIN_SIDE_PX or height % MULTIPLE_PX or width % MULTIPLE_PX:
            raise OptionError(
                f"RAFT needs frames of at least {MIN_SIDE_PX}x{MIN_SIDE_PX} px in multiples of {MULTIPLE_PX}, got "
                f"{width}x{height}: use --flow dis"
            )
        flow: Tensor = self.network(frames, others, num_flow_updates=NUM_UPDATES)[-1]
        self._release()
        return flow

    def _release(self) -> None:
        """Free what the network keeps of its last call: tables of 1.1 GB for 1280x720 pixels."""
        block = getattr(self.network, "corr_block", None)
        if isinstance(block, ChunkedCorrelation):
            block.release()
        elif block is not None and hasattr(block, "corr_pyramid"):
            block.corr_pyramid = []


def check_raft() -> None:
    """Refuse to work without torchvision, before anything is read.

    Raises:
        OptionError: torchvision is not installed or does not import.
    """
    _torchvision()


def load_raft(device: str = "cpu") -> RaftFlow:
    """Load RAFT-large; torchvision downloads its weights (20 MB) once.

    Raises:
        OptionError: torchvision is not installed or does not import.
        WeightsError: its weights are not on this machine and cannot be downloaded, or are damaged.
    """
    flow = _torchvision()
    try:
        network = flow.raft_large(weights=flow.Raft_Large_Weights.C_T_SKHT_V2, progress=False)
    except (OSError, RuntimeError, ValueError, EOFError) as error:  # no network, another digest, no space
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(
            f"cannot get the weights of RAFT ({first_line(error)}): put {WEIGHTS_FILE} into {folder}, or use --flow dis"
        ) from error
    return RaftFlow(network.eval().requires_grad_(False).to(device))


def first_line(error: BaseException) -> str:
    """Return what an error of another library says, in one line."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _torchvision() -> Any:
    try:
        return import_module("torchvision.models.optical_flow")
    except Exception as error:  # beside a torch of another kind it fails in many ways
        raise OptionError(
            "optical flow by RAFT needs torchvision: pip install torchvision, or use --flow dis, which needs OpenCV"
        ) from error
