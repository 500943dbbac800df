"""The STAR network: a video UNet steered by a ControlNet that reads the low-quality clip.

Source: STAR (arXiv 2501.02976) on I2VGen-XL. One class for every width: the published light and heavy
checkpoints (2.04 B parameters) and star-small differ in :class:`StarUNetConfig` only. Knows nothing of pixels,
schedules or text; families/registry.py says which configuration belongs to which checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor, nn

from starvsr.models.feature_cache import FeatureCache
from starvsr.models.inference import InPlaceSiLU, OwnedMaps, add, over_pieces
from starvsr.models.star.attention import Context
from starvsr.models.star.blocks import Upsample
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.control import StarControlNet
from starvsr.models.star.encoder import Condition, StarEncoder, modules_of, norm_maker

__all__ = ["StarUNet", "StarUNetConfig"]


class StarUNet(StarEncoder):
    """Predict the velocity of a noisy clip, given text and the low-quality clip.

    Latent heights must be 2 and widths 0 modulo ``config.row_step`` (8 for the published models): the published
    down- and upsampling only fit then.
    """

    def __init__(self, config: StarUNetConfig) -> None:
        """Build encoder, middle, decoder, head and ControlNet."""
        super().__init__(config)
        self.output_blocks = nn.ModuleList(self._decoder_blocks())
        self.arrange_blocks()
        head = nn.Conv2d(config.width, config.out_channels, 3, padding=1)
        nn.init.zeros_(head.weight)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
        self.out = nn.Sequential(norm_maker(config)(config.channels[0], 1e-5), InPlaceSiLU(), head)
        self.VideoControlNet = StarControlNet(config, self.budget)

    def modules_as_run(self) -> list[nn.Module]:
        """Return the modules that hold nearly all weights, in the order in which a call runs them."""
        control = self.VideoControlNet
        found: list[nn.Module] = []
        for number, (own, other) in enumerate(zip(self.input_blocks, control.input_blocks, strict=True)):
            first, *rest = modules_of(other)
            hint = [control.input_hint_block] if number == 0 else []
            found += [*modules_of(own), first, *hint, *rest, *modules_of(control.zero_convs[number])]
        found += [*modules_of(self.middle_block), *modules_of(control.middle_block), *control.middle_block_out]
        for block in self.output_blocks:
            found += modules_of(block)
        return found

    def _decoder_blocks(self) -> Iterator[nn.ModuleList]:
        config, skips = self.config, list(self.skip_channels)
        current, scale = config.channels[-1], 0.5 ** (len(config.channels) - 1)
        for level in reversed(range(len(config.channels))):
            channels = config.channels[level]
            for index in range(config.res_blocks[level] + 1):
                block = self._level_block(current + skips.pop(), channels, level, scale)
                current = channels
                if level and index == config.res_blocks[level]:
                    block.append(Upsample(current, self.budget))
                    scale *= 2
                yield block

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Context,
        hint: Tensor | None = None,
        *,
        cache: FeatureCache | None = None,
    ) -> Tensor:
        """Return the velocity [B, C, T, h, w] of the noisy latents.

        Args:
            x: noisy latents [B, C, T, h, w].
            timesteps: integer timesteps [B], 0 (clean) .. 999 (noise).
            context: text features [B, L, D]. One clip (B = 1) may be read with K texts [K, L, D]: the result is then
                [K, C, T, h, w], and what comes before the first text is read is computed once.
            hint: low-quality latents [B, C, T, h, w]; None runs the ControlNet without them.
            cache: deep features of the same clip and texts from an earlier step, used while it has them.
        """
        num_frames = x.shape[2]
        frames = _merge(x)
        hint_frames = None if hint is None else _merge(hint)
        condition = Condition(self.embed(timesteps, frames.dtype), context, num_frames)
        controls = self.VideoControlNet.one_by_one(frames, timesteps, context, hint_frames, num_frames)

        cache = cache or FeatureCache(every=1)
        num_blocks = len(self.input_blocks) if cache.features is None else cache.num_blocks
        features, skips = OwnedMaps(frames), []
        for block in self.input_blocks[:num_blocks]:
            features = self.run(block, features, condition)
            skips.append(add(next(controls), features.tensor))
        if cache.features is None:
            features = self.run(self.middle_block, features, condition)
            features = OwnedMaps(add(next(controls), features.take()))
        else:
            features = OwnedMaps(cache.features)
        for block in self.output_blocks[-num_blocks:]:
            cache.see(features.tensor, num_left=len(skips))
            features = self.run(block, features.with_skip(skips.pop()), condition)
        velocity = over_pieces(self.out, features.take(), self.budget)
        return rearrange(velocity, "(b t) c h w -> b c t h w", t=num_frames)


def _merge(clip: Tensor) -> Tensor:
    """Merge batch and frames, channels last in memory."""
    return rearrange(clip, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
