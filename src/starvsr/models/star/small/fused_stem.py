"""The way into the one-step form of star-small: from frames to the first skip and to the maps of the second level.

Enlarging, encoding, both nets' first layers, their sum and their way down are linear, so that inside a frame each
map is one convolution of the three colours. Only at the edges, where each layer sees padding of its own, do narrow
strips go through layer by layer.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.star.small.fused_layers import (
    CHUNK_PX,
    LAST,
    bias_of,
    composed,
    convolution,
    frame_parts,
    new_maps,
    pieces_of,
)
from starvsr.models.workers import Workers

REACH = 2
"""How many input pixels around its own an enlarged square depends on, for bicubic enlargement."""
_STRIP = 6
"""Height or width of a strip: outermost results need the frame up to here, and not what the strip's cut spoils."""
_SMALL = 4 * _STRIP
"""Frames with a shorter side go through layer by layer as a whole."""


class FusedStem(nn.Module):
    """The finest level's encoders.

    Args:
        hint: from a frame padded by ``REACH`` to latents, a 5x5 convolution.
        first: the network's first layer, 3x3.
        control_first: the same of the control net.
        control_skip: what adds the control's map to the skip, 1x1.
        down: the network's way to the second level, 3x3, stride 2, two rows and one column of padding.
        control_down: the same of the control net.
        row_step: what network sizes are a multiple of: widths, and heights less 2.
    """

    def __init__(
        self,
        hint: nn.Conv2d,
        first: nn.Conv2d,
        control_first: nn.Conv2d,
        control_skip: nn.Conv2d,
        down: nn.Conv2d,
        control_down: nn.Conv2d,
        row_step: int,
    ) -> None:
        super().__init__()
        self.row_step = row_step
        control = composed(control_first, control_skip)
        to_skip = convolution(first.weight + control.weight, bias_of(first) + bias_of(control))
        self.hint, self.to_skip = hint, to_skip
        self.first, self.control_first = first, control_first
        self.down, self.control_down = down, control_down
        inner = [composed(composed(hint, own), way) for own, way in ((first, down), (control_first, control_down))]
        self.inner_skip = composed(hint, to_skip)  # 7x7
        self.inner_lows = convolution(  # 9x9, stride 2
            torch.cat([conv.weight for conv in inner]),
            torch.cat([bias_of(conv) for conv in inner]),
            stride=2,
            padding=0,
        )

    def to_network_type(self, dtype: torch.dtype) -> None:
        """Convert the single layers but the one that reads pixels; what replaces them inside stays in float32."""
        for layer in (self.to_skip, self.first, self.control_first, self.down, self.control_down):
            layer.to(dtype)

    def full_size(self, frames: Tensor) -> tuple[int, int]:
        """Return height and width of the finest level's maps for frames [T, 3, h, w]."""
        height, width = frames.shape[-2:]
        return height + (2 - height) % self.row_step, width + -width % self.row_step

    def forward(self, pool: Workers, frames: Tensor, spare: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Return the skip and the two nets' maps of the second level.

        Args:
            pool: Computes the pieces.
            frames: [T, 3, h, w] float32 in [-1, 1].
            spare: so many frames of the skip's memory stay empty, before the others.

        Returns:
            [spare + T, C, h', w'] and twice [T, C, (h'+1)//2 + 1, (w'+1)//2] in the network's type, channels last;
            h' and w' are the sizes that the network takes.
        """
        full, count, channels = self.full_size(frames), len(frames), self.first.out_channels
        half = ((full[0] + 1) // 2 + 1, (full[1] + 1) // 2)
        like = torch.empty(0, dtype=self.first.weight.dtype, device=frames.device)
        sizes = (spare + count, full), (count, half), (count, half)
        maps = [new_maps(like, (frames_held, channels, *size)) for frames_held, size in sizes]
        ends = [map_[-count:] for map_ in maps]
        pool.run(partial(self._fill, frames[cut], *(end[cut] for end in ends)) for cut in frame_parts(frames, CHUNK_PX))
        return maps[0], maps[1], maps[2]

    def _fill(self, frames: Tensor, *maps: Tensor) -> None:
        """Make some frames' maps."""
        height, width = frames.shape[-2:]
        rows, columns = (full - size for full, size in zip(self.full_size(frames), (height, width), strict=True))
        if min(height, width) < _SMALL:
            for map_, made in zip(maps, self._by_layers(frames, rows, columns), strict=True):
                map_.copy_(made)
            return
        for number, frame in enumerate(frames.split(1)):
            self._inside(frame, rows, columns, *(map_[number : number + 1] for map_ in maps))
        for axis, size, near, half in ((2, height, 2, height // 2), (3, width, 1, (width - 1) // 2)):
            strip = frames.narrow(axis, 0, _STRIP)
            parts = self._by_layers(strip, rows if axis == 3 else 0, columns if axis == 2 else 0)
            for map_, part, count in zip(maps, parts, (1, near, near), strict=True):
                map_.narrow(axis, 0, count).copy_(part.narrow(axis, 0, count))
            begin = (size - _STRIP) // 2  # of the far strip, on the second level
            parts = self._by_layers(frames.narrow(axis, 2 * begin, size - 2 * begin), rows, columns)
            for map_, part, to, offset in zip(
                maps, parts, (size - 1, half, half), (2 * begin, begin, begin), strict=True
            ):
                count = map_.shape[axis] - to
                map_.narrow(axis, to, count).copy_(part.narrow(axis, to - offset, count))

    def _by_layers(self, frames: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
        """Run layer by layer; ``rows`` and ``columns`` repeat the latents' last ones that many times."""
        hint = self.hint(_replicated(frames, REACH, REACH, REACH, REACH)).to(self.first.weight.dtype)
        if rows or columns:
            hint = _replicated(hint, 0, columns, 0, rows)
        return self.to_skip(hint), self.down(self.first(hint)), self.control_down(self.control_first(hint))

    def _inside(self, frame: Tensor, rows: int, columns: int, skip: Tensor, low: Tensor, control_low: Tensor) -> None:
        """Run the composed convolutions on one frame, some rows at a time; they are right away from the edges."""
        height, width = frame.shape[-2:]
        full, half = skip.shape[-2:], low.shape[-2:]
        # the first second-level result lies around row -1 and column 0
        need = [max(start + size + 6, 2 * level + 7) for start, size, level in zip((2, 1), full, half, strict=True)]
        padded = _replicated(frame, 4, need[1] - 4 - width, 5, need[0] - 5 - height)
        for _, part in pieces_of(1, *full):
            source = padded[..., 2 + part.start : 2 + part.stop + 6, 1 : 1 + full[1] + 6]
            skip[:, :, part] = self.inner_skip(source)
        for _, part in pieces_of(1, *half):
            both = self.inner_lows(padded[:, :, 2 * part.start : 2 * part.stop + 7])[..., : half[1]]
            for map_, made in zip((low, control_low), both.split(low.shape[1], 1), strict=True):
                map_[:, :, part] = made


def _replicated(maps: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Repeat the outermost rows and columns, channels last."""
    return F.pad(maps, (left, right, top, bottom), mode="replicate").contiguous(memory_format=LAST)
