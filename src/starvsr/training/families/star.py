"""What training of all STAR networks has in common: parts by the names of their parameters, blocks, recomputing."""

from __future__ import annotations

from torch import nn

from starvsr.models.star.blocks import ResBlock, SpatialTransformer, TemporalTransformer
from starvsr.models.star.encoder import StarEncoder
from starvsr.training.parts import NamedParts
from starvsr.training.sketch import Checkpoint

STAR_PARTS = NamedParts(
    parts={
        "control": lambda name: "VideoControlNet." in name,
        "liem": lambda name: ".local" in name,
        "context": lambda name: name.startswith("context."),
        "unet": lambda n: "VideoControlNet." not in n and ".local" not in n and not n.startswith("context."),
    },
    head="unet.out.2.",
    adam=("context",),
)


def star_blocks(network: nn.Module) -> list[nn.Module]:
    """List the blocks of a STAR network that have weights of their own."""
    return [m for m in network.modules() if isinstance(m, ResBlock | SpatialTransformer | TemporalTransformer)]


def recompute_blocks(network: nn.Module, checkpoint: Checkpoint | None = None) -> None:
    """Compute what is inside each block again in the backward pass instead of keeping it.

    Args:
        network: holds STAR encoders.
        checkpoint: runs a block; None for torch's.
    """
    for module in network.modules():
        if isinstance(module, StarEncoder):
            module.activation_checkpointing = True
            if checkpoint is not None:
                module.checkpoint = checkpoint
