"""The ControlNet of STAR: reads the low-quality latents and steers the UNet's skips."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from starvsr.models.inference import Budget, OwnedMaps, add
from starvsr.models.star.attention import Context
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.encoder import Condition, StarEncoder


class StarControlNet(StarEncoder):
    """A copy of the UNet's encoder that sees the low-quality latents and returns one map per skip.

    Source: STAR (arXiv 2501.02976); part ``VideoControlNet`` of the published checkpoints.
    """

    def __init__(self, config: StarUNetConfig, budget: Budget | None = None) -> None:
        """Build with zero output convolutions: a fresh ControlNet changes nothing."""
        super().__init__(config, budget)
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
        """Yield the control maps, each as soon as its block has run; whoever takes one may overwrite it."""
        condition = Condition(self.embed(timesteps, x.dtype), context, num_frames)
        first, *blocks = self.input_blocks
        assert isinstance(first, nn.ModuleList)
        features = OwnedMaps(self._enter(first[0], x, hint))
        features = self.run(first[1:], features, condition)
        zero_convs = [*self.zero_convs, self.middle_block_out]
        yield _only(zero_convs[0])(features.tensor)
        for block, zero_conv in zip([*blocks, self.middle_block], zero_convs[1:], strict=True):
            features = self.run(block, features, condition)
            yield _only(zero_conv)(features.tensor)

    def _enter(self, first: nn.Module, x: Tensor, hint: Tensor | None) -> Tensor:
        """Return the first maps: those of the noisy latents plus those of the low-quality ones."""
        features: Tensor = first(x)
        return features if hint is None else add(features, self.input_hint_block(hint))


def _only(modules: nn.Module) -> nn.Module:
    """Take the one module out of a list that is there for the sake of the published names."""
    (module,) = modules.children()
    return module
