"""The temporal autoencoder of Stable Video Diffusion: frames to latents one by one, groups of frames back.

Holds the network; codec.py cuts clips into what it is given here. Attribute names are those of diffusers'
AutoencoderKLTemporalDecoder, so the published files load strictly.

Maps of a clip are a list: without gradients of single frames, which pass the spatial layers one at a time, large ones
in strips of rows; with gradients of one tensor [T, C, H, W]. models/row_chunks.py has what saves memory. Peak of a
decode: one map of the widest layer for all frames, and about four for one frame.

Source: Stable Video Diffusion (arXiv 2311.15127); latent diffusion (arXiv 2112.10752) for the image half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from starvsr.models.inference import keeps_gradients
from starvsr.models.row_chunks import (
    add_over_time,
    add_pixelwise,
    each_frame,
    frame_by_frame,
    norm_silu_conv,
    over_rows,
    separate_frames,
)

QUERIES_AT_ONCE = 2048
"""Attention scores of so many pixels of a frame are held at once."""

STRIP_VALUES = 1 << 21
"""Values of a strip of rows in the temporal layers, about."""

SPATIAL_VALUES = 1 << 24
"""Values of a strip of rows in the spatial layers, about: their strips overlap."""


@dataclass(frozen=True)
class TemporalVaeConfig:
    """Every number of a temporal autoencoder; the defaults are Stable Video Diffusion's."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    """Channels from full to lowest resolution."""
    layers_per_block: int = 2
    """Residual blocks of each encoder level (the decoder has one more)."""
    latent_channels: int = 4
    scaling_factor: float = 0.18215
    groups: int = 32

    @property
    def factor(self) -> int:
        """Pixels per latent cell and side."""
        return int(2 ** (len(self.channels) - 1))

    @classmethod
    def from_diffusers(cls, names: Mapping[str, Any]) -> TemporalVaeConfig:
        """Translate the configuration file of diffusers."""
        return cls(
            channels=tuple(names["block_out_channels"]),
            layers_per_block=names["layers_per_block"],
            latent_channels=names["latent_channels"],
            scaling_factor=names["scaling_factor"],
        )


class TemporalVae(nn.Module):
    """Encoder for single frames and decoder for groups of frames."""

    def __init__(self, config: TemporalVaeConfig | None = None) -> None:
        """Build with fresh weights; the default is the published size."""
        super().__init__()
        self.config = config = config or TemporalVaeConfig()
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.decoder = TemporalDecoder(config)

    def moments(self, frames: Tensor) -> Tensor:
        """Return mean and log variance [N, 2C, h, w] of frames [N, 3, h*factor, w*factor] in [-1, 1]."""
        out: Tensor = self.quant_conv(frame_by_frame(self.encoder, frames))
        return out

    def decode(self, latents: Tensor) -> Tensor:
        """Return frames [T, 3, h*factor, w*factor] of consecutive unscaled latents [T, C, h, w]."""
        out: Tensor = self.decoder(latents)
        return out


class Encoder(nn.Module):
    """The image encoder: residual blocks, strided convolutions, one attention in the middle."""

    def __init__(self, config: TemporalVaeConfig) -> None:
        """Build from 3 channels to the moments of the latents."""
        super().__init__()
        first, last = config.channels[0], config.channels[-1]
        self.conv_in = nn.Conv2d(3, first, 3, padding=1)
        self.down_blocks = nn.ModuleList(self._levels(config))
        self.mid_block = _Middle([_ResBlock(last, last, config.groups) for _ in range(2)], last, config.groups)
        self.conv_norm_out = nn.GroupNorm(config.groups, last, eps=1e-6)
        self.conv_out = nn.Conv2d(last, 2 * config.latent_channels, 3, padding=1)

    @staticmethod
    def _levels(config: TemporalVaeConfig) -> Iterator[nn.Module]:
        current = config.channels[0]
        for level, channels in enumerate(config.channels):
            inputs = [current] + [channels] * (config.layers_per_block - 1)
            layers = {"resnets": nn.ModuleList(_ResBlock(cin, channels, config.groups) for cin in inputs)}
            if level != len(config.channels) - 1:
                layers["downsamplers"] = nn.ModuleList([_Downsample(channels)])
            current = channels
            yield nn.ModuleDict(layers)

    def forward(self, frame: Tensor) -> Tensor:
        """Return moments [N, 2C, h, w], before ``quant_conv``, of frames [N, 3, H, W]."""
        features = self.conv_in(frame)
        for level in self.down_blocks.children():
            for layers in level.children():
                for layer in layers.children():
                    features = layer(features)
        features = self.mid_block.resnets[0](features)
        features = self.mid_block.attentions[0](features)
        features = self.mid_block.resnets[1](features)
        return norm_silu_conv(features, self.conv_norm_out, self.conv_out, SPATIAL_VALUES)


class TemporalDecoder(nn.Module):
    """The decoder: each residual block sees a frame, then its neighbours in time."""

    def __init__(self, config: TemporalVaeConfig) -> None:
        """Build from latents to 3 channels."""
        super().__init__()
        first, last = config.channels[0], config.channels[-1]
        self.activation_checkpointing = False
        """Compute each block again in the backward pass instead of keeping what is inside it."""
        self.checkpoint: Callable[..., Any] = checkpoint
        """How a block is recomputed; something else may stand here to watch it."""
        self.conv_in = nn.Conv2d(config.latent_channels, last, 3, padding=1)
        self.mid_block = _Middle(
            [SpatioTemporalBlock(last, last, config.groups) for _ in range(config.layers_per_block)],
            last,
            config.groups,
        )
        self.up_blocks = nn.ModuleList(self._levels(config))
        self.conv_norm_out = nn.GroupNorm(config.groups, first, eps=1e-6)
        self.conv_out = nn.Conv2d(first, 3, 3, padding=1)
        self.time_conv_out = nn.Conv3d(3, 3, (3, 1, 1), padding=(1, 0, 0))

    @staticmethod
    def _levels(config: TemporalVaeConfig) -> Iterator[nn.Module]:
        current = config.channels[-1]
        for level, channels in enumerate(reversed(config.channels)):
            inputs = [current] + [channels] * config.layers_per_block
            layers = {"resnets": nn.ModuleList(SpatioTemporalBlock(cin, channels, config.groups) for cin in inputs)}
            if level != len(config.channels) - 1:
                layers["upsamplers"] = nn.ModuleList([_Upsample(channels)])
            current = channels
            yield nn.ModuleDict(layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Return frames [T, 3, H, W] of the latents [T, C, h, w] of T consecutive frames."""
        frames = each_frame(self.conv_in, separate_frames(latents))
        first, *others = self.mid_block.resnets
        frames = self._run(first, frames)
        for attention, block in zip(self.mid_block.attentions, others, strict=False):  # one attention, any blocks
            frames = self._run(block, each_frame(attention, frames))
        enlarge: nn.Module | None = None
        for level in self.up_blocks:
            assert isinstance(level, nn.ModuleDict)
            for block in level["resnets"].children():
                frames = self._run(block, frames, enlarge)
                enlarge = None
            enlarge = next(level["upsamplers"].children()) if "upsamplers" in level else None
        clip = torch.cat(each_frame(self._to_pixels, frames)).transpose(0, 1)[None]
        out: Tensor = self.time_conv_out(clip)[0].transpose(0, 1)
        return out

    def _run(self, block: nn.Module, frames: list[Tensor], before: nn.Module | None = None) -> list[Tensor]:
        if self.activation_checkpointing and keeps_gradients():
            (clip,) = frames
            return [self.checkpoint(self.run_block, block, clip, before, use_reentrant=False)]
        made: list[Tensor] = block(frames, before=before)
        return made

    @staticmethod
    def run_block(block: nn.Module, clip: Tensor, before: nn.Module | None) -> Tensor:
        """Run one block on maps [T, C, h, w] of one tensor, with gradient."""
        (out,) = block([clip], before=before)
        made: Tensor = out
        return made

    def _to_pixels(self, features: Tensor) -> Tensor:
        return norm_silu_conv(features, self.conv_norm_out, self.conv_out, SPATIAL_VALUES)


class SpatioTemporalBlock(nn.Module):
    """A residual block on each frame, then one along time, mixed by a learned share."""

    def __init__(self, cin: int, cout: int, groups: int) -> None:
        """Build for ``cin`` -> ``cout`` channels."""
        super().__init__()
        self.spatial_res_block = _ResBlock(cin, cout, groups)
        self.temporal_res_block = _TemporalResBlock(cout, groups)
        self.time_mixer = nn.ParameterDict({"mix_factor": torch.zeros(1)})

    def forward(self, frames: list[Tensor], before: nn.Module | None = None) -> list[Tensor]:
        """Return maps [N, cout, H, W] of maps [N, cin, h, w] of consecutive frames.

        Args:
            frames: Several frames each, or one each; the list is emptied as they are read.
            before: Enlarges each map first: only one enlarged map of the wider input is then held at a time.
        """
        spatial = self.spatial_res_block
        made = each_frame(lambda frame: spatial(frame if before is None else before(frame)), frames)
        return self.temporal_res_block(made, torch.sigmoid(self.time_mixer["mix_factor"]))


class _TemporalResBlock(nn.Module):
    """Two (3,1,1) convolutions with norms whose statistics run over all frames."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(groups, channels, eps=1e-5) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0)) for _ in range(2))

    def forward(self, frames: list[Tensor], share: Tensor) -> list[Tensor]:
        """Return the frames plus ``share`` times what the convolutions make of them; in place without gradients."""
        stages = (self.norm1, self.conv1), (self.norm2, self.conv2)
        return add_over_time(frames, *stages, share, STRIP_VALUES)


class _ResBlock(nn.Module):
    """Two 3x3 convolutions on single frames."""

    def __init__(self, cin: int, cout: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, cin, eps=1e-6), nn.GroupNorm(groups, cout, eps=1e-6)
        self.conv1, self.conv2 = nn.Conv2d(cin, cout, 3, padding=1), nn.Conv2d(cout, cout, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else None

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, cout, H, W] of features [N, cin, H, W]."""
        hidden = norm_silu_conv(features, self.norm1, self.conv1, SPATIAL_VALUES)
        hidden = norm_silu_conv(hidden, self.norm2, self.conv2, SPATIAL_VALUES)
        return add_pixelwise(hidden, features, self.conv_shortcut, SPATIAL_VALUES)


class _Middle(nn.Module):
    """The middle of encoder or decoder: residual blocks with one attention between the first two.

    As in diffusers, the attention belongs to the second block: a decoder with one block has its weights and leaves it
    out, and one with three or more leaves out the blocks behind the second.
    """

    def __init__(self, blocks: list[nn.Module], channels: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_PixelAttention(channels, groups)])
        self.resnets = nn.ModuleList(blocks)


class _PixelAttention(nn.Module):
    """Attention with one head over the pixels of a frame, as a residual."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels), nn.Dropout(0.0)])

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, h, w] of features of that shape."""
        tokens = self.group_norm(features).flatten(2).transpose(1, 2)
        query, key, value = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        parts = [F.scaled_dot_product_attention(q, key, value) for q in query.split(QUERIES_AT_ONCE, dim=1)]
        mixed = self.to_out[0](torch.cat(parts, dim=1))
        out: Tensor = features + mixed.transpose(1, 2).unflatten(2, features.shape[2:])
        return out


class _Downsample(nn.Module):
    """Halve height and width; padding right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, H//2, W//2]."""
        out: Tensor = self.conv(F.pad(features, (0, 1, 0, 1)))
        return out


class _Upsample(nn.Module):
    """Double height and width by repetition, convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, 2H, 2W]."""
        return over_rows(self._enlarged, features, SPATIAL_VALUES, halo=1, scale=2)

    def _enlarged(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))
        return out
