"""A larger CausalSR that begins as a smaller one: the same function, with new channels and blocks that can learn.

Channels of the smaller network are not affected by new ones at first: their weights for these are zero. The new
channels themselves see all others through fresh weights, so that the zeros get a gradient at the first step and the
fresh weights at the next. The last convolution of a new block is zero.

Source: zero weights that leave a function as it is, as in ReZero (arXiv 2003.04887) and Net2Net (arXiv 1511.05641).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.causal_sr import CausalSR
from starvsr.models.causal_sr_config import CausalSRConfig

_GROWING = ("width", "num_blocks", "up_width", "thin_width", "thin_block", "context_width", "context_blocks")


def widen(network: CausalSR, tensors: Mapping[str, Tensor], narrow: CausalSRConfig) -> None:
    """Fill a network with the weights of a smaller one.

    Args:
        network: The larger network, with fresh weights; new channels and blocks keep them.
        tensors: Of the smaller network, by name; they fit it.
        narrow: Its sizes.

    Raises:
        WeightsError: The larger network cannot do what the smaller one does.
    """
    problems = _problems(narrow, network.config)
    if problems:
        raise WeightsError(
            f"weights of this causal-sr cannot be widened to the recipe's sizes ({'; '.join(problems)}): sizes may "
            "grow and nothing else may change, so write those of the weights into the recipe's network section"
        )
    with torch.no_grad():
        for name, own in network.state_dict().items():
            if name in tensors:
                _fill(own, tensors[name].to(own), *_places(name, own, tensors[name], narrow, network.config))
            elif name.endswith(".second.weight"):
                own.zero_()


def changes(narrow: CausalSRConfig, wide: CausalSRConfig) -> dict[str, tuple[int, int]]:
    """Return the sizes that differ, by name: that of the smaller network and that of the larger one."""
    before, after = asdict(narrow), asdict(wide)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _problems(narrow: CausalSRConfig, wide: CausalSRConfig) -> list[str]:
    """Say what stands in the way, one line for each size."""
    differing = changes(narrow, wide)
    had_context = bool(narrow.context_width)
    problems = [
        f"{name} {before} to {after}"
        for name, (before, after) in differing.items()
        if name in _GROWING and after < before and (had_context or name != "context_blocks")
    ]
    fixed = ["shared_head", *(["context_after"] if had_context else [])]
    problems += [f"{name} {differing[name][0]} to {differing[name][1]}" for name in fixed if name in differing]
    if min(wide.memory, narrow.num_blocks) != narrow.memory:  # blocks that look back must go on to, and no others
        problems.append(f"memory {narrow.memory} to {wide.memory}")
    kept, rest = narrow.shifted_channels, narrow.width - narrow.shifted_channels
    if wide.width >= narrow.width and (wide.shifted_channels < kept or wide.width - wide.shifted_channels < rest):
        problems.append(f"{kept} of {narrow.width} channels that look back to {wide.shifted_channels} of {wide.width}")
    return problems


def _places(
    name: str, own: Tensor, given: Tensor, narrow: CausalSRConfig, wide: CausalSRConfig
) -> tuple[Tensor, Tensor]:
    """Return where outputs and inputs of a smaller tensor are in the larger one.

    The channels of the trunk that look back are its first ones, so the new ones among them come in between.
    """
    kept = narrow.shifted_channels
    trunk = torch.arange(narrow.width)
    trunk[kept:] += wide.shifted_channels - kept
    rows, columns = torch.arange(given.shape[0]), torch.arange(given.shape[1] if given.ndim > 1 else 0)
    match name.split(".")[:-1]:
        case ["first"] | ["blocks", _, "second"]:
            rows = trunk
        case ["blocks", _, "first"] | ["context", "down"] | ["up"]:
            columns = trunk
        case ["context", "up"]:
            rows = torch.cat([trunk, wide.width + trunk])  # factors, then summands
    return rows.to(own.device), columns.to(own.device)


def _fill(own: Tensor, given: Tensor, rows: Tensor, columns: Tensor) -> None:
    if own.ndim == 1:
        own[rows] = given
        return
    own[rows] = 0
    own[rows[:, None], columns] = given
