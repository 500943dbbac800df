"""star-small: the STAR network at small width with a learned context, on the grid of the input.

One step from the low-quality latents themselves, at a fixed timestep, instead of many from noise:
x_t = lq / alpha_t, so that a velocity of zero gives the low-quality clip back and the network predicts what is
missing. Trained so after ordinary velocity training; several steps from noise stay possible.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.star.small.config import StarSmallConfig
from starvsr.models.star.small.refinement import Refinement
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.learned_context import LearnedContext

BRIGHTNESS_WINDOW = 9
"""Side, in input pixels, of the window whose average brightness and colour the one step leaves as they are."""


class StarSmall(nn.Module):
    """A STAR UNet with its context: predicts the velocity of latents of any height and width."""

    def __init__(self, config: StarSmallConfig, context_tokens: int) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.unet = StarUNet(config)
        self.context = LearnedContext(context_tokens, config.context_dim)
        self.refinement = Refinement(config.refinement_width) if config.refinement_width else None

    def forward(self, x: Tensor, timesteps: Tensor, hint: Tensor) -> Tensor:
        """Return the velocity [B, C, T, h, w] of latents ``x`` at integer ``timesteps`` [B].

        ``hint`` are the low-quality latents, of the shape of ``x``. Both are padded by repetition to a size
        that the network takes, and the result is cropped back. The network computes in the type of its weights.
        """
        step = self.unet.config.row_step
        rows, columns = (2 - x.shape[-2]) % step, -x.shape[-1] % step
        pad, dtype = (0, columns, 0, rows), self.context.tokens.dtype
        context = self.context(x.shape[0])
        velocity = self.unet(_repeat(x.to(dtype), pad), timesteps, context, _repeat(hint.to(dtype), pad))
        out: Tensor = velocity[..., : x.shape[-2], : x.shape[-1]].to(x.dtype)
        return out

    def one_step(self, hint: Tensor, alpha: float, sigma: float, timestep: int) -> Tensor:
        """Return the clean estimate [B, C, T, h, w] in one step from the low-quality latents ``hint``."""
        timesteps = torch.full((hint.shape[0],), timestep, device=hint.device)
        low = hint.to(self.context.tokens.dtype)  # the network's type at once: memory counts here
        return hint - sigma * keep_brightness(self(low / alpha, timesteps, low).to(hint.dtype))

    def refined(self, made: Tensor, plain: Tensor, lq: Tensor) -> Tensor:
        """Return what is the result of decoded pixels; see :meth:`Refinement.forward`."""
        return made if self.refinement is None else self.refinement(made, plain, lq)


def keep_brightness(velocity: Tensor) -> Tensor:
    """Take the local average out of a velocity [B, C, T, h, w]: the change may not brighten, darken or tint.

    Blur, noise and compression hardly change local averages, and colour drift is what viewers notice first. Only
    the means of the squares have an average to speak of: the first channel of each colour.
    """
    by_colour = velocity.unflatten(1, (3, -1))  # [B, 3, k, T, h, w]
    means = by_colour[:, :, 0]
    rows, columns = (min(BRIGHTNESS_WINDOW, size - 1 + size % 2) for size in means.shape[-2:])  # odd sides
    edge = (0, rows // 2, columns // 2)
    average = F.avg_pool3d(means, (1, rows, columns), stride=1, padding=edge, count_include_pad=False)
    return torch.cat([(means - average)[:, :, None], by_colour[:, :, 1:]], dim=2).flatten(1, 2)


def _repeat(clip: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
    if not any(pad):
        return clip
    return F.pad(clip, (*pad, 0, 0), mode="replicate")
