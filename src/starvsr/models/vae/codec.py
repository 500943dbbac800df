"""Clips through the temporal autoencoder: posterior sampling, scaling, and the cut into groups for decoding.

The decoder's temporal layers see the frames of one group only. In the released STAR code the groups are 3 frames
without overlap, so every third frame is joined to the next by nothing and the picture pulses with that period. Here
groups overlap and are blended by default; the released groups are a choice (docs/models.md has the measurement).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product

import torch
from torch import Tensor

from starvsr.diffusion.posterior import sample_posterior, split_moments
from starvsr.models.vae.temporal import TemporalVae
from starvsr.windows import Window, blend_weights, split_windows

GROUP, OVERLAP = 8, 4
"""Frames decoded together by default, and how many of them neighbouring groups share."""

RELEASED_GROUP = 3

TILE_OVERLAP = 12
"""Latent cells that neighbouring tiles share."""


class TemporalVaeCodec:
    """A :class:`~starvsr.models.codecs.Codec` whose latents are drawn from the posterior and scaled."""

    def __init__(
        self, vae: TemporalVae, *, group: int = GROUP, overlap: int = OVERLAP, decode_dtype: torch.dtype | None = None
    ) -> None:
        """Build.

        Args:
            vae: The network, float32.
            group: Frames decoded together; memory grows with it.
            overlap: Frames that neighbouring groups share; 0 puts groups side by side.
            decode_dtype: Number type of the decoder's convolutions, float32 for None. Norms stay in float32 and so
                does the encoder, as in the released STAR code.
        """
        self.vae = vae.eval().requires_grad_(False)
        self.group, self.overlap, self.decode_dtype = group, overlap, decode_dtype
        self.tiles: tuple[int, int] = (1, 1)
        """Rows and columns of tiles that a frame is encoded and decoded in: less memory, slightly other values."""
        self.channels, self.factor = vae.config.latent_channels, vae.config.factor

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return latents [B, C, T, h, w] of pixels [B, 3, T, H, W] in [-1, 1], one frame after the other.

        Args:
            pixels: Height and width multiples of ``factor``.
            noise: Unit normal, of the shape of the latents, for a draw from the posterior; None takes its mean.
        """
        clips = []
        for item in range(pixels.shape[0]):
            draws = None if noise is None else noise[item].transpose(0, 1)
            clips.append(self.encode_frames(pixels[item].transpose(0, 1), draws).transpose(0, 1))
        return torch.stack(clips)

    def encode_frames(self, frames: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return latents [N, C, h, w] of frames [N, 3, H, W]; ``noise`` has the shape of the latents."""
        mean, logvar = split_moments(self._in_tiles(self.vae.moments, frames, self.factor, 1))
        return sample_posterior(mean, logvar, noise) * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels [B, 3, T, H, W], about [-1, 1], of latents [B, C, T, h, w]."""
        clips = [torch.stack(list(self.decode_frames(item)), dim=1) for item in latents]
        return torch.stack(clips)

    def decode_frames(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield float32 frames [3, H, W] of latents [C, T, h, w]; only the frames of one group are held."""
        groups = decode_groups(latents.shape[1], self.group, self.overlap)
        pending: list[Tensor] = []  # frames of the overlap, weighted, that wait for the next group's share
        for number, (group, weights) in enumerate(zip(groups, blend_weights(groups), strict=True)):
            frames = self._decode_group(latents[:, group.start : group.stop])
            last = groups[number + 1].start if number + 1 < len(groups) else group.stop
            for index, weight in enumerate(weights):
                frame = frames[index] if weight == 1 else frames[index] * weight
                if pending:
                    frame = frame + pending.pop(0)
                if group.start + index < last:
                    yield frame
                else:
                    frames[index] = frame
            pending = [frame.clone() for frame in frames[last - group.start :]]
            del frames, frame

    def _decode_group(self, latents: Tensor) -> Tensor:
        def decode(part: Tensor) -> Tensor:
            with self._precision(latents.device.type):
                return self.vae.decode(part).float()

        return self._in_tiles(decode, latents.transpose(0, 1) / self.vae.config.scaling_factor, 1, self.factor)

    def _in_tiles(self, layer: Callable[[Tensor], Tensor], maps: Tensor, unit: int, made: int) -> Tensor:
        """Apply a layer to tiles of maps [N, C, H, W] and blend what it makes.

        Args:
            layer: Makes ``made`` pixels of each ``unit`` of the input, per side; one of both is 1.
            maps: Frames or latents.
            unit: Pixels of the input per latent cell.
            made: Pixels of the result per latent cell.
        """
        axes = [axis_tiles(size // unit, count) for size, count in zip(maps.shape[2:], self.tiles, strict=True)]
        if all(len(axis) == 1 for axis in axes):
            return layer(maps)
        out: Tensor | None = None
        for (row, row_weights), (column, column_weights) in product(*(weighted(axis, made) for axis in axes)):
            part = layer(maps[..., unit * row.start : unit * row.stop, unit * column.start : unit * column.stop])
            if out is None:
                out = part.new_zeros((*part.shape[:2], *(made * size // unit for size in maps.shape[2:])))
            weight = torch.tensor(row_weights).to(part)[:, None] * torch.tensor(column_weights).to(part)
            rows, columns = (slice(made * axis.start, made * axis.stop) for axis in (row, column))
            out[..., rows, columns] += part.mul_(weight)
            del part
        assert out is not None
        return out

    def _precision(self, device_type: str) -> AbstractContextManager[object]:
        if self.decode_dtype in (None, torch.float32):
            return nullcontext()
        return torch.autocast(device_type, self.decode_dtype)


def decode_groups(num_frames: int, group: int, overlap: int) -> Sequence[Window]:
    """Cover a clip with groups: overlapping ones of equal size, or side by side with a short last one."""
    if overlap:
        return split_windows(num_frames, group, min(overlap, group // 2))
    starts = range(0, num_frames, group)
    stops = [min(start + group, num_frames) for start in starts]
    return [Window(start, stop, start, stop) for start, stop in zip(starts, stops, strict=True)]


def axis_tiles(cells: int, count: int) -> list[Window]:
    """Cover an axis of latent cells with ``count`` equal tiles that overlap by `TILE_OVERLAP`."""
    overlap = min(TILE_OVERLAP, cells // 2)
    side = -(-(cells + (count - 1) * overlap) // count)
    return split_windows(cells, max(side, overlap + 1), overlap) if count > 1 else split_windows(cells, cells, 0)


def weighted(axis: list[Window], scale: int) -> list[tuple[Window, list[float]]]:
    """Return the tiles of an axis with the weights of their pixels, ``scale`` to a cell."""
    scaled = [Window(*(scale * edge for edge in (w.start, w.stop, w.keep_start, w.keep_stop))) for w in axis]
    return list(zip(axis, blend_weights(scaled, "cosine"), strict=True))
