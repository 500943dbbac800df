"""Bytes of estimating one optical flow between enlarged frames: RAFT is traced on the meta device, DIS counted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import nn

from starvsr.families.stablevsr.configuration import SCALE
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.raft import NUM_UPDATES
from starvsr.offload.trace import LiveBytes

FLOAT = 4
TRACED_UPDATES = 2
"""The first updates hold what all others hold; each adds a flow of the frames' size to what is kept."""
FlowBytes = Callable[[int, int], int]
"""(height, width) of the low-quality frames -> bytes beside weights."""

_TRACED: WeakKeyDictionary[nn.Module, dict[tuple[int, int], int]] = WeakKeyDictionary()


def flow_bytes(estimator: FlowEstimator, height: int, width: int) -> int:
    """Return the bytes of estimating one flow, without weights.

    Args:
        estimator: One with a ``network`` that is called as torchvision's RAFT is traced; others hold two copies of
            the frames.
        height: Of the low-quality frames.
        width: Of the low-quality frames.
    """
    height, width = SCALE * height, SCALE * width
    pictures = 2 * 3 * FLOAT * height * width
    network = getattr(estimator, "network", None)
    return 2 * pictures if not isinstance(network, nn.Module) else pictures + network_bytes(network, height, width)


def network_bytes(network: nn.Module, height: int, width: int) -> int:
    """Return the bytes of one call of RAFT beside weights and frames; traced once for each size.

    The table of every eighth pixel against every other grows with the square of the frame's area, so the trace is of
    the size itself. It runs a few updates; the flows that the others keep are added. That is exact where the updates
    need most; where the table does, it is above the peak by those flows at most (4 % of 1.7 GB at 1280x720).

    Args:
        network: [1, 3, H, W] twice and ``num_flow_updates`` -> list of flows [1, 2, H, W].
        height: Of the frames that it is given.
        width: Of the frames that it is given.
    """
    known = _TRACED.setdefault(network, {})
    if (height, width) not in known:
        kept = (NUM_UPDATES - TRACED_UPDATES) * 2 * FLOAT * height * width
        known[height, width] = _peak(network, height, width) + kept
    return known[height, width]


@torch.inference_mode(False)
@torch.no_grad()
def _peak(network: nn.Module, height: int, width: int) -> int:
    shadow = copy.deepcopy(network).to("meta")
    frames, others = (torch.empty(1, 3, height, width, device="meta") for _ in range(2))
    with LiveBytes([*shadow.state_dict().values(), frames, others]) as live:
        shadow(frames, others, num_flow_updates=TRACED_UPDATES)
    return live.peak
