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
        for layer in [self.input_hint_block, *(z[0] for z in self.zero_convs), self.middle_block_out[0]]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

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
        features = first[0](x)
        if hint is not None:
            features = features + self.input_hint_block(hint)
        features = self.run_block(first[1:], features, embedding, context, num_frames)
        controls = [self.zero_convs[0][0](features)]
        for block, zero in zip(self.input_blocks[1:], self.zero_convs[1:], strict=True):
            features = self.run_block(block, features, embedding, context, num_frames)
            controls.append(zero[0](features))
        features = self.run_block(self.middle_block, features, embedding, context, num_frames)
        controls.append(self.middle_block_out[0](features))
        return controls
