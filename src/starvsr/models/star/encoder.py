"""The half that the STAR UNet and its ControlNet have in common: configuration, encoder, middle.

Source: STAR (arXiv 2501.02976) on I2VGen-XL. Module positions inside ``input_blocks`` and ``middle_block`` are
those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from starvsr.models.inference import Budget, Maps, OwnedMaps, keeps_gradients, owned
from starvsr.models.norms import GroupNormLast
from starvsr.models.star.attention import Context, sinusoidal_embedding
from starvsr.models.star.blocks import (
    ChannelNorm,
    Downsample,
    NormMaker,
    ResBlock,
    SpatialTransformer,
    TemporalConv,
    TemporalTransformer,
    Upsample,
)
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.liem import place_gates


@dataclass(frozen=True)
class Condition:
    """What every block is given beside its maps.

    Args:
        embedding: Time embedding [B, 4*width].
        context: Text features [B, L, D].
        num_frames: T.
    """

    embedding: Tensor
    context: Context
    num_frames: int

    def has_more_texts_than(self, features: Maps) -> bool:
        """Whether one clip is to be read with several texts, and these maps [T, C, h, w] are before the first."""
        return owned(features).num_frames < self.context.shape[0] * self.num_frames


Checkpoint = Callable[..., Any]
"""``torch.utils.checkpoint.checkpoint``, or what stands in its place: (function, *its arguments, use_reentrant)."""


def norm_maker(config: StarUNetConfig) -> NormMaker:
    """Return the maker of a network's norms."""
    if config.norm == "channel":
        return ChannelNorm
    return lambda channels, eps: GroupNormLast(32, channels, eps)


class StarEncoder(nn.Module):
    """Time embedding, encoder blocks and middle; base of :class:`StarUNet` and :class:`StarControlNet`."""

    def __init__(self, config: StarUNetConfig, budget: Budget | None = None) -> None:
        """Build encoder and middle; all layers share one ``budget``."""
        super().__init__()
        self.config, self.budget = config, budget or Budget()
        self.activation_checkpointing = False
        self.checkpoint: Checkpoint = checkpoint
        """How a block is recomputed; something else may stand here to watch it."""
        self.skip_channels: list[int] = []
        emb_dim = 4 * config.width
        self.time_embed = nn.Sequential(nn.Linear(config.width, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim))
        self.input_blocks = nn.ModuleList(self._encoder_blocks())
        self.middle_block = nn.ModuleList(self._middle_blocks())
        self.arrange_blocks()

    def arrange_blocks(self) -> None:
        """Bring gates to where the configuration wants them, and repeat the ends of clips if it says so."""
        place_gates(self, self.config.liem_position, space=self.config.liem_space, time=self.config.liem_time)
        for module in self.modules():
            if isinstance(module, TemporalConv):
                module.repeats = self.config.temporal_padding == "repeat"

    def _encoder_blocks(self) -> Iterator[nn.Module]:
        config, norm = self.config, norm_maker(self.config)
        first: list[nn.Module] = [nn.Conv2d(config.in_channels, config.width, 3, padding=1)]
        if config.first_heads:
            inner = config.first_heads * config.head_dim
            first.append(TemporalTransformer(config.width, inner, config.head_dim, norm, self.budget))
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
        block: list[nn.Module] = [self._res_block(cin, cout, self.config.temporal_stages[level])]
        if scale in self.config.attn_scales:
            block += self._transformers(cout)
        return nn.ModuleList(block)

    def _middle_blocks(self) -> Iterator[nn.Module]:
        channels, stages = self.config.channels[-1], self.config.temporal_stages[-1]
        yield self._res_block(channels, channels, stages)
        yield from self._transformers(channels)
        yield self._res_block(channels, channels, stages)

    def _res_block(self, cin: int, cout: int, stages: int) -> ResBlock:
        config = self.config
        return ResBlock(cin, cout, 4 * config.width, norm_maker(config), stages, config.dropout, self.budget)

    def _transformers(self, channels: int) -> list[nn.Module]:
        config, norm = self.config, norm_maker(self.config)
        return [
            SpatialTransformer(channels, config.head_dim, config.context_dim, norm, config.attn_window, self.budget),
            TemporalTransformer(channels, channels, config.head_dim, norm, self.budget),
        ]

    def embed(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the time embedding [B, 4*width] of timesteps [B]."""
        out: Tensor = self.time_embed(sinusoidal_embedding(timesteps, self.config.width).to(dtype))
        return out

    def run(self, block: nn.Module, features: OwnedMaps, condition: Condition) -> OwnedMaps:
        """Run one block; it is recomputed in the backward pass if ``activation_checkpointing`` is set."""
        if keeps_gradients():
            recompute = self.checkpoint if self.activation_checkpointing else _directly
            return OwnedMaps(recompute(run_block, block, features.joined(), condition, use_reentrant=False))
        for module in modules_of(block):
            features = OwnedMaps(run_module(module, features, condition))
        return features


def _directly(function: Callable[..., Tensor], *arguments: Any, use_reentrant: bool) -> Tensor:
    """Stands in for a checkpoint that recomputes nothing."""
    return function(*arguments)


def modules_of(block: nn.Module) -> list[nn.Module]:
    """Return the modules of a block, which may be one itself."""
    return list(block.children()) if isinstance(block, nn.ModuleList) else [block]


def run_block(block: nn.Module, features: Tensor, condition: Condition) -> Tensor:
    """Run one block on maps [B*T, C, h, w], which stay as they are."""
    for module in modules_of(block):
        features = run_module(module, features, condition)
    return features


def run_module(module: nn.Module, features: Maps, condition: Condition) -> Tensor:
    """Hand a module the inputs that its kind needs."""
    if isinstance(module, ResBlock):
        return module(features, condition.embedding, condition.num_frames)
    if isinstance(module, SpatialTransformer):
        return module(features, condition.context, each_text=condition.has_more_texts_than(features))
    if isinstance(module, TemporalTransformer):
        return module(features, condition.num_frames)
    assert isinstance(module, nn.Conv2d | Downsample | Upsample)
    return module(owned(features).take())
