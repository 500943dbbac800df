"""The half that the STAR UNet and its ControlNet have in common: configuration, encoder, middle.

Source: STAR (arXiv 2501.02976) on I2VGen-XL. Module positions inside ``input_blocks`` and ``middle_block`` are
those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from starvsr.models.norms import GroupNormLast
from starvsr.models.star.attention import Context, sinusoidal_embedding
from starvsr.models.star.blocks import (
    ChannelNorm,
    Downsample,
    NormMaker,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
    Upsample,
)
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.liem import place_gates

Checkpoint = Callable[..., Any]
"""``torch.utils.checkpoint.checkpoint``, or what stands in its place: (function, *its arguments, use_reentrant)."""


def norm_maker(config: StarUNetConfig) -> NormMaker:
    """Return the maker of a network's norms."""
    if config.norm == "channel":
        return ChannelNorm
    return lambda channels, eps: GroupNormLast(32, channels, eps)


class StarEncoder(nn.Module):
    """Time embedding, encoder blocks and middle; base of :class:`StarUNet` and :class:`StarControlNet`."""

    def __init__(self, config: StarUNetConfig) -> None:
        """Build encoder and middle."""
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        self.checkpoint: Checkpoint = checkpoint
        """How a block is recomputed; something else may stand here to watch it."""
        self.skip_channels: list[int] = []
        emb_dim = 4 * config.width
        self.time_embed = nn.Sequential(nn.Linear(config.width, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim))
        self.input_blocks = nn.ModuleList(self._encoder_blocks())
        self.middle_block = nn.ModuleList(self._middle_blocks())
        self.place_gates()

    def place_gates(self) -> None:
        """Bring the gates of all blocks to where the configuration wants them."""
        place_gates(self, self.config.liem_position, space=self.config.liem_space, time=self.config.liem_time)

    def _encoder_blocks(self) -> Iterator[nn.Module]:
        config, norm = self.config, norm_maker(self.config)
        first: list[nn.Module] = [nn.Conv2d(config.in_channels, config.width, 3, padding=1)]
        if config.first_heads:
            inner = config.first_heads * config.head_dim
            first.append(TemporalTransformer(config.width, inner, config.head_dim, norm))
        yield nn.ModuleList(first)
        self.skip_channels.append(config.width)
        current, scale, last = config.width, 1.0, len(config.channels) - 1
        for level, channels in enumerate(config.channels):
            for _ in range(config.res_blocks[level]):
                yield self._level_block(current, channels, level, scale)
                current = channels
                self.skip_channels.append(current)
            if level != last:
                yield Downsample(current)
                self.skip_channels.append(current)
                scale /= 2

    def _level_block(self, cin: int, cout: int, level: int, scale: float) -> nn.ModuleList:
        """One ResBlock, with both transformers where this scale has attention."""
        config, norm = self.config, norm_maker(self.config)
        stages = config.temporal_stages[level]
        block: list[nn.Module] = [ResBlock(cin, cout, 4 * config.width, norm, stages, config.dropout)]
        if scale in config.attn_scales:
            block.append(SpatialTransformer(cout, config.head_dim, config.context_dim, norm, config.attn_window))
            block.append(TemporalTransformer(cout, cout, config.head_dim, norm))
        return nn.ModuleList(block)

    def _middle_blocks(self) -> Iterator[nn.Module]:
        config, norm = self.config, norm_maker(self.config)
        channels, stages = config.channels[-1], config.temporal_stages[-1]
        yield ResBlock(channels, channels, 4 * config.width, norm, stages, config.dropout)
        yield SpatialTransformer(channels, config.head_dim, config.context_dim, norm, config.attn_window)
        yield TemporalTransformer(channels, channels, config.head_dim, norm)
        yield ResBlock(channels, channels, 4 * config.width, norm, stages, config.dropout)

    def embed(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the time embedding [B, 4*width] of timesteps [B]."""
        out: Tensor = self.time_embed(sinusoidal_embedding(timesteps, self.config.width).to(dtype))
        return out

    def run_block(
        self, block: nn.Module, features: Tensor, embedding: Tensor, context: Context, num_frames: int
    ) -> Tensor:
        """Run one block, recomputing it in the backward pass if ``activation_checkpointing`` is set."""
        args = (block, features, embedding, context, num_frames)
        if self.activation_checkpointing and torch.is_grad_enabled():
            out: Tensor = self.checkpoint(_run, *args, use_reentrant=False)
            return out
        return _run(*args)

    def run_on(
        self,
        block: nn.Module,
        held: list[Tensor],
        embedding: Tensor,
        context: Context,
        num_frames: int,
        *,
        fresh: bool = False,
    ) -> Tensor:
        """Run one block on maps that are handed over, joined along the channels.

        Without gradients the list is emptied as soon as its maps have been read, so that those which only the list
        holds are let go of; ``fresh`` ones may be overwritten.
        """
        if torch.is_grad_enabled():
            features = held.pop() if len(held) == 1 else torch.cat(held, dim=1)
            return self.run_block(block, features, embedding, context, num_frames)
        for number, module in enumerate(modules_of(block)):
            held[:] = [_advance(module, held, embedding, context, num_frames, fresh=fresh or number > 0)]
        return held.pop()


def modules_of(block: nn.Module) -> list[nn.Module]:
    """Return the modules of a block, which may be one itself."""
    return list(block.children()) if isinstance(block, nn.ModuleList) else [block]


def _run(block: nn.Module, features: Tensor, embedding: Tensor, context: Context, num_frames: int) -> Tensor:
    """Hand each kind of module the inputs it needs."""
    for module in modules_of(block):
        features = _advance(module, [features], embedding, context, num_frames)
    return features


def _advance(
    module: nn.Module, held: list[Tensor], embedding: Tensor, context: Context, num_frames: int, fresh: bool = False
) -> Tensor:
    """Run one module on the maps held; ``fresh`` ones may be overwritten."""
    if isinstance(module, ResBlock):
        return module(held, embedding, num_frames)
    (features,) = held
    if isinstance(module, SpatialTransformer):
        if len(features) < context.shape[0] * num_frames:  # one clip, several texts, and this is the first to read them
            return module(features, context, each_text=True)
        return module(features, context, fresh=fresh)
    if isinstance(module, TemporalTransformer):
        return module(features, num_frames, fresh=fresh)
    assert isinstance(module, nn.Conv2d | Downsample | Upsample)
    return module(features)
