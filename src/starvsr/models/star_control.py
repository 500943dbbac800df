"""The ControlNet of STAR: reads the low-quality latents and steers the UNet's skips."""

from __future__ import annotations

from torch import Tensor, nn

from starvsr.models.star_encoder import StarEncoder, StarUNetConfig


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
        self, x: Tensor, timesteps: Tensor, context: Tensor, hint: Tensor | None, num_frames: int
    ) -> list[Tensor]:
        """Return the control maps, encoder blocks first, middle last, each [B*T, C, h, w].

        Args:
            x: noisy latents [B*T, C, h, w].
            timesteps: integer timesteps [B].
            context: text features [B, L, D].
            hint: low-quality latents [B*T, C, h, w]; None leaves them out (the network still runs).
            num_frames: T.
        """
        embedding = self.embed(timesteps, x.dtype)
        first = self.input_blocks[0]
        assert isinstance(first, nn.ModuleList)
        features: Tensor = first[0](x)
        if hint is not None:
            features = features + self.input_hint_block(hint)
        features = self.run_block(first[1:], features, embedding, context, num_frames)
        controls = [_only(self.zero_convs[0])(features)]
        for block, zero in zip(self.input_blocks[1:], self.zero_convs[1:], strict=True):
            features = self.run_block(block, features, embedding, context, num_frames)
            controls.append(_only(zero)(features))
        features = self.run_block(self.middle_block, features, embedding, context, num_frames)
        controls.append(_only(self.middle_block_out)(features))
        return controls


def _only(modules: nn.Module) -> nn.Module:
    """Take the one module out of a list that is there for the sake of the published names."""
    (module,) = modules.children()
    return module
