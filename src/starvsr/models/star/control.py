"""The ControlNet of STAR: reads the low-quality latents and steers the UNet's skips."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from starvsr.models.star.attention import Context
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.encoder import StarEncoder


class StarControlNet(StarEncoder):
    """A copy of the UNet's encoder that sees the low-quality latents and returns one map per skip.

    Source: STAR (arXiv 2501.02976); part ``VideoControlNet`` of the published checkpoints.
    """

    def __init__(self, config: StarUNetConfig) -> None:
        """Build with zero output convolutions: a fresh ControlNet changes nothing."""
        super().__init__(config)
        self.input_hint_block = nn.Conv2d(config.in_channels, config.width, 3, padding=1)
        self.zero_convs = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(channels, channels, 1)]) for channels in self.skip_channels
        )
        last = config.channels[-1]
        self.middle_block_out = nn.ModuleList([nn.Conv2d(last, last, 1)])
        for parameter in [*self.input_hint_block.parameters(), *self.zero_convs.parameters()]:
            nn.init.zeros_(parameter)
        for parameter in self.middle_block_out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Context, hint: Tensor | None, num_frames: int
    ) -> list[Tensor]:
        """Return the control maps, encoder blocks first, middle last, each [B*T, C, h, w].

        Args:
            x: noisy latents [B*T, C, h, w].
            timesteps: integer timesteps [B].
            context: text features [B, L, D].
            hint: low-quality latents [B*T, C, h, w]; None leaves them out (the network still runs).
            num_frames: T.
        """
        return list(self.one_by_one(x, timesteps, context, hint, num_frames))

    def one_by_one(
        self, x: Tensor, timesteps: Tensor, context: Context, hint: Tensor | None, num_frames: int
    ) -> Iterator[Tensor]:
        """Yield the control maps, each as soon as its block has run."""
        embedding = self.embed(timesteps, x.dtype)
        first, *blocks = self.input_blocks
        assert isinstance(first, nn.ModuleList)
        features: Tensor = first[0](x)
        if hint is not None:
            features = _sum(features, self.input_hint_block(hint))
        held = [features]
        del features
        outs = [*map(_only, self.zero_convs), _only(self.middle_block_out)]
        held = [self.run_on(first[1:], held, embedding, context, num_frames, fresh=True)]
        yield outs[0](held[0])
        for block, out in zip([*blocks, self.middle_block], outs[1:], strict=True):
            held = [self.run_on(block, held, embedding, context, num_frames)]
            yield out(held[0])


def _sum(one: Tensor, other: Tensor) -> Tensor:
    return one + other if torch.is_grad_enabled() else one.add_(other)


def _only(modules: nn.Module) -> nn.Module:
    """Take the one module out of a list that is there for the sake of the published names."""
    (module,) = modules.children()
    return module
