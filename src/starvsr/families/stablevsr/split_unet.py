"""The forward pass of diffusers' UNet in two halves: what depends on a frame alone, and what the TCM adds to.

`conv_in`, the blocks downwards and the middle block see the latent, the frame and the text, and not what the neighbour
looks like. So they run for several frames at once, before the sampler goes from frame to frame; the TCM's residuals are
added to their results afterwards, as ``UNet2DConditionModel`` adds them.

Source: diffusers, models/unets/unet_2d_condition.py, whose modules are called here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the first half makes of frames.

    Attributes:
        skips: Maps for the way up, the finest first, [B, C, h, w] each.
        middle: Result of the middle block.
        time: Embedding of the timestep [B, D].
    """

    skips: tuple[Tensor, ...]
    middle: Tensor
    time: Tensor

    def frame(self, index: int) -> Encoded:
        """Return what belongs to one frame of the batch; views, no copies."""
        part = slice(index, index + 1)
        return Encoded(tuple(skip[part] for skip in self.skips), self.middle[part], self.time[part])


def encode(unet: Any, inputs: Tensor, timestep: int, text: Tensor) -> Encoded:
    """Run the first half.

    Args:
        unet: ``UNet2DConditionModel``.
        inputs: [B, 7, h, w], latents and low-quality frames.
        timestep: Of the schedule.
        text: [1, L, C].
    """
    text = text.expand(len(inputs), -1, -1)
    time = unet.time_embedding(unet.get_time_embed(sample=inputs, timestep=timestep))
    features = unet.conv_in(inputs)
    skips = (features,)
    for block in unet.down_blocks:
        features, made = _run(block, features, time, text)
        skips += tuple(made)
    return Encoded(skips, _run(unet.mid_block, features, time, text), time)


def finish(unet: Any, encoded: Encoded, text: Tensor, downs: Sequence[Tensor] | None, middle: Tensor | None) -> Tensor:
    """Run the second half on one frame.

    Args:
        unet: ``UNet2DConditionModel``.
        encoded: Result of the first half for one frame.
        text: [1, L, C].
        downs: What the TCM adds to each skip, or None; overwritten.
        middle: What it adds to the middle, or None.

    Returns:
        The prediction [1, 4, h, w].
    """
    skips = list(encoded.skips)
    features = encoded.middle
    if downs is not None and middle is not None:
        skips = [down.add_(skip) for down, skip in zip(downs, skips, strict=True)]
        features = features + middle
    for block in unet.up_blocks:
        count = len(block.resnets)
        used, skips = tuple(skips[-count:]), skips[:-count]
        size = tuple(skips[-1].shape[2:]) if skips else None
        features = _run(block, features, encoded.time, text, res_hidden_states_tuple=used, upsample_size=size)
    if unet.conv_norm_out is not None:
        features = unet.conv_act(unet.conv_norm_out(features))
    predicted: Tensor = unet.conv_out(features)
    return predicted


def _run(block: Any, features: Tensor, time: Tensor, text: Tensor, **options: Any) -> Any:
    if getattr(block, "has_cross_attention", False):
        options["encoder_hidden_states"] = text
    return block(features, temb=time, **options)


def halves(unet: Any) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Return the modules of either half, those that can be streamed one by one in the order in which they run."""
    first = nn.ModuleList([unet.conv_in, unet.time_embedding, *unet.down_blocks, unet.mid_block])
    last = [module for module in (unet.conv_norm_out, unet.conv_out) if module is not None]
    return first, nn.ModuleList([*unet.up_blocks, *last])
