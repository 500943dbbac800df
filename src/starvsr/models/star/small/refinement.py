"""What follows the squares of star-small: thin convolutions at twice the input's size, and chroma held back.

The network gives each 4x4 square of the result by one convolution at the input's resolution, and nothing behind it
sees two squares at once: where texture is asked of it, their borders show. Here convolutions of few channels at twice
the input's size see the luma of the plain enlargement and what the network adds to it, and correct the sum. What then
repeats in square after square of quiet areas is taken out: the input holds nothing so fine, and a network that is
trained for looks likes to draw such a lattice in place of grain. Not in training: there it would only teach the network
to draw a stronger lattice, which counts as an edge.

Local averages of luma stay as they are. Chroma may change only where the input has chroma nearby: gray in, gray out.
Beside a surface that is even in the input, luma leaves the input's range by little: what lies farther outside is a
halo, wherever it comes from. Lines and dots, whose own values the input does not hold, have no such limit, but where it
is nearly black or white they go half of the way there at the most. That is no part of training either, where a limit
would hide haloes from the losses. And nothing is added where the input itself holds nothing fine: what a lens left
soft, sky, and the even sides of edges stay as the input has them. Beside a lone edge that is all but the edge itself.

Source: thin layers behind a pixel unshuffle as in Real-ESRGAN (arXiv 2107.10833).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from starvsr.models.luma_chroma import LUMA, chroma_gate, to_ycc

FACTOR = 4
"""Side of the squares, in pixels of the result: one for each pixel of the input."""
SQUARES = 5
"""Side of the neighbourhood over which what repeats is averaged, in squares."""
_BRIGHTNESS_WINDOW = 9
"""Side, in squares, of the window whose average luma the correction leaves as it is."""
REACH = 3 + _BRIGHTNESS_WINDOW // 2
"""Rows of the input around one of the result: three for four convolutions and a mean at twice its size."""
_CELL = 2
"""Pixels of the result per position of the convolutions, along each side."""
_CONVOLUTIONS = 4
_CHANGE_SCALE, _PICTURE_SCALE = 8.0, 4.0
"""Bring changes and fine structure of usual pictures near unit size."""
_MEAN_WINDOW = 5
_RANGE_WINDOW = 7
"""Side of the neighbourhood whose range counts, in squares."""
_HALO_IN_FAINT, _HALO_AT_EDGES = 8 / 127.5, 1 / 127.5
"""By how much luma may leave the range, where that is up to _FAINT_RANGE, and from _EDGE_RANGE on."""
_FAINT_RANGE, _EDGE_RANGE = 20 / 127.5, 80 / 127.5
_SURFACE = 3
"""Side of the smallest surface, in squares."""
_THIN = 0.15
"""Share of the range by which what is smaller than a surface stands out of it, from which on surfaces are no limit."""
_NEAR_END = 48 / 127.5
"""Distance of the input's luma from black or white up to which what stands out may go half of the way there."""
_QUIET_WINDOW = 3
"""Side of the neighbourhood in which fine structure counts, in squares."""
_FAINT_EDGE, _CLEAR_EDGE = 8 / 127.5, 24 / 127.5
"""Range of luma up to which nothing counts as an edge, and from which on it does."""
_LONE = 0.3
"""How far, in units of `_THIN`, something may stand out of surfaces for their edge to count as alone; at twice as far
it does not."""
_SIGNS = (-1, 1)
_QUIET, _LIVELY = 0.5 / 127.5, 2 / 127.5
"""Fine structure of the input up to which nothing is added, and from which on all is."""
_FAINT = 0.03
"""Root of the mean square of a square's change, of a range of 2, at which it counts by half for what repeats."""


class Refinement(nn.Module):
    """Corrects results; with fresh weights nothing but their chroma.

    Args:
        width: channels of the convolutions.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(2 * _CELL**2, width)
        self.second = _convolution(width, width)
        self.third = _convolution(width, width)
        self.last = _convolution(width, _CELL**2)
        nn.init.zeros_(self.last.weight)

    def forward(self, made: Tensor, plain: Tensor, lq: Tensor) -> Tensor:
        """Return corrected results.

        Args:
            made: what the network makes of clips, [B, 3, T, 4h, 4w] RGB in [-1, 1].
            plain: the enlarged input, of the same shape.
            lq: the input [B, 3, T, h, w].

        Returns:
            [B, 3, T, 4h, 4w], not clamped.
        """
        change, picture = (_to_squares(clip.transpose(1, 2).flatten(0, 1)) for clip in (made - plain, plain))
        frames = lq.transpose(1, 2).flatten(0, 1)
        held = None if self.training else held_of(frames)
        corrected = self.squares(change, picture, gate_of(frames), held)
        frames = rearrange(corrected, "n (y x c) h w -> n c (h y) (w x)", y=FACTOR, x=FACTOR)
        return frames.unflatten(0, (len(lq), -1)).transpose(1, 2)

    def squares(self, change: Tensor, plain: Tensor, gate: Tensor, held: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return corrected results, pixels of a square as channels, in channels-last memory.

        With all of a change let through, luma is corrected alike in all colours; what is held back of chroma leaves
        the change of luma, which is the same in all colours, too.

        Args:
            change: what the network adds, [N, 48, h, w] in the order (row, column, colour), RGB of a range of 2.
            plain: the enlarged input, of the same shape.
            gate: share of the change of chroma that is let through, [N, 1, h, w]; see :func:`gate_of`.
            held: see :func:`held_of`. None in training.
        """
        change, plain, gate = (x.permute(0, 2, 3, 1) for x in (change, plain, gate))  # [N, h, w, ...]
        added, picture = _luma(change), _luma(plain)
        raw = self._correction(added, picture)
        correction = raw - _average(raw)
        if not self.training:
            correction = correction - repeated(added + raw)
        alike = correction.addcmul(added, 1 - gate)
        if held is not None:
            share, *limits = (x.permute(0, 2, 3, 1) for x in (held[0], *held[1].split(1, 1)))
            gate, alike = gate * share, alike * share
            result = torch.addcmul(picture, added + correction, share)  # luma: what is held back of chroma has none
            alike += result.clamp(*limits) - result
        made = (plain + change * gate).unflatten(-1, (-1, 3)) + alike[..., None]
        return made.flatten(-2).permute(0, 3, 1, 2)

    def _correction(self, change: Tensor, picture: Tensor) -> Tensor:
        """Return what is added to luma, for that of the change and of the picture, all [N, h, w, 16]."""
        change, picture = _to_cells(change), _to_cells(picture)
        reach = _MEAN_WINDOW // 2
        around = F.avg_pool2d(picture.mean(1, keepdim=True), _MEAN_WINDOW, 1, reach, count_include_pad=False)
        seen = torch.cat([change * _CHANGE_SCALE, (picture - around) * _PICTURE_SCALE], dim=1)
        x = F.pad(seen.to(self.first.weight.dtype), (_CONVOLUTIONS,) * 4, mode="replicate")
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu_(self.first(x))
        x = F.relu_(self.second(x))
        x = F.relu_(self.third(x))
        correction: Tensor = self.last(x).to(change.dtype)
        return rearrange(correction, "n (a b) (h y) (w x) -> n h w (y a x b)", a=_CELL, y=_CELL, x=_CELL)


def repeated(change: Tensor) -> Tensor:
    """Return what of a change of luma is the same in square after square, as it is around each place.

    Squares count by how faint their change is: an edge that runs along a row of squares repeats, too.

    Args:
        change: [N, h, w, 16], pixels of a square last.
    """
    places = change - change.mean(-1, keepdim=True)
    counts = 1 / (1 + (places.square().mean(-1, keepdim=True) / _FAINT**2).square())
    sums = torch.cat([places * counts, counts], dim=-1).permute(0, 3, 1, 2)
    for window in ((SQUARES, 1), (1, SQUARES)):
        padding = (window[0] // 2, window[1] // 2)
        sums = F.avg_pool2d(sums, window, 1, padding, count_include_pad=False)
    return (sums[:, :-1] / sums[:, -1:].add(1e-4)).permute(0, 2, 3, 1)


def _average(change: Tensor) -> Tensor:
    """Return the local average [N, h, w, 1] of a change of luma [N, h, w, 16]."""
    means, window = change.mean(-1)[:, None], _BRIGHTNESS_WINDOW
    average = F.avg_pool2d(means, window, 1, window // 2, count_include_pad=False)
    return average.permute(0, 2, 3, 1)


def gate_of(lq: Tensor) -> Tensor:
    """Return the share [N, 1, h, w] of a change of chroma that is let through, from frames [N, 3, h, w] in RGB."""
    return chroma_gate(to_ycc(lq)[:, 1:])


def held_of(lq: Tensor) -> tuple[Tensor, Tensor]:
    """Return what holds the result of frames [N, 3, h, w] in RGB in [-1, 1] back.

    Returns:
        The share [N, 1, h, w] of what is added that is let through, and the least and the largest luma that squares
        may have, [N, 2, h, w].
    """
    luma = to_ycc(lq)[:, :1]
    structure = _structure_of(luma)
    return _share_of(luma, structure), _limits_of(luma, structure)


@dataclass(frozen=True)
class _Structure:
    """What luma [N, 1, h, w] consists of; the pairs are for dark and for bright, of the negated luma and of luma.

    Bright surfaces are what an opening of luma keeps, dark ones what a closing keeps. What is thinner stands out of
    them: lines, letters and texture.
    """

    spread: Tensor
    """Between the least and the largest value nearby."""
    surfaces: tuple[Tensor, Tensor]
    standing_out: tuple[Tensor, Tensor]
    """By how much: 1 is the share `_THIN` of the spread."""

    @property
    def lone_edges(self) -> Tensor:
        """1 where surfaces meet and nothing stands out of them, 0 in texture and in even areas."""
        clear = ((self.spread - _FAINT_EDGE) / (_CLEAR_EDGE - _FAINT_EDGE)).clamp(0, 1)
        dark, bright = ((2 - thin / _LONE).clamp(0, 1) for thin in self.standing_out)
        return clear * dark * bright


def _structure_of(luma: Tensor) -> _Structure:
    extremes = [_largest(sign * luma, _RANGE_WINDOW) for sign in _SIGNS]
    spread = extremes[0] + extremes[1]
    surfaces, standing_out = [], []
    for sign, largest in zip(_SIGNS, extremes, strict=True):
        values = sign * luma
        surfaces.append(_largest(-_largest(-values, _SURFACE), _SURFACE))
        standing_out.append((largest - _largest(surfaces[-1], _RANGE_WINDOW)) / (spread + 4 / 127.5) / _THIN)
    return _Structure(spread, (surfaces[0], surfaces[1]), (standing_out[0], standing_out[1]))


def _limits_of(luma: Tensor, structure: _Structure) -> Tensor:
    """Return the least and the largest luma of each square, [N, 2, h, w].

    Surfaces limit it by their own values. The input holds lines, letters and texture too faintly to limit them; but
    where it is nearly black or white itself, they go half of the way to the end of the scale at the most: a line
    that is as dark as ink is drawn as ink.
    """
    rising = ((structure.spread - _FAINT_RANGE) / (_EDGE_RANGE - _FAINT_RANGE)).clamp(0, 1)
    may_leave = torch.lerp(torch.full_like(rising, _HALO_IN_FAINT), torch.full_like(rising, _HALO_AT_EDGES), rising)
    found = []
    for sign, surfaces, standing_out in zip(_SIGNS, structure.surfaces, structure.standing_out, strict=True):
        reached = torch.maximum(_largest(surfaces, _RANGE_WINDOW), _largest(sign * luma, _SURFACE))
        room = 1 - reached
        room = room * (room / (2 * _NEAR_END)).clamp(0.5, 1)
        found.append(sign * (reached + may_leave + room * standing_out.clamp(0, 1)))
    return torch.cat(found, dim=1)


def _share_of(luma: Tensor, structure: _Structure) -> Tensor:
    """Return the share of what is added that is let through.

    It rises with what a 3x3 binomial filter takes away of the input's luma: from 0, where that is half a level, to 1.
    The largest such part nearby counts; beside a lone edge, where no texture is to be expected, that of the place.
    """
    soft = luma
    for kernel, pad in (((1, 1, 1, 3), (1, 1, 0, 0)), ((1, 1, 3, 1), (0, 0, 1, 1))):
        row = luma.new_tensor([0.25, 0.5, 0.25]).view(kernel)
        soft = F.conv2d(F.pad(soft, pad, mode="replicate"), row)
    fine = (luma - soft).abs()
    nearby, here = (
        F.avg_pool2d(((part - _QUIET) / (_LIVELY - _QUIET)).clamp(0, 1), 3, 1, 1, count_include_pad=False)
        for part in (_largest(fine, _QUIET_WINDOW), fine)
    )
    return torch.lerp(nearby, here, structure.lone_edges)


def _largest(planes: Tensor, window: int) -> Tensor:
    """Return the largest value of [N, 1, h, w] around each place, in windows of an odd side, cut at borders.

    Three neighbours at a time: maxima of whole rows are several times faster here than pooling.
    """
    for _ in range(window // 2):
        for axis, pad in ((2, (0, 0, 1, 1)), (3, (1, 1, 0, 0))):
            size, padded = planes.shape[axis], F.pad(planes, pad, mode="replicate")
            before, after = padded.narrow(axis, 0, size), padded.narrow(axis, 2, size)
            planes = torch.maximum(torch.maximum(before, after), planes)
    return planes


def _luma(squares: Tensor) -> Tensor:
    """Return the luma [N, h, w, 16] of squares [N, h, w, 48]."""
    return squares.unflatten(-1, (-1, 3)) @ torch.tensor(LUMA, dtype=squares.dtype, device=squares.device)


def _to_squares(frames: Tensor) -> Tensor:
    return rearrange(frames, "n c (h y) (w x) -> n (y x c) h w", y=FACTOR, x=FACTOR)


def _to_cells(luma: Tensor) -> Tensor:
    """Turn the pixels of squares [N, h, w, 16] into those of cells [N, 4, 2h, 2w], in channels-last memory."""
    cells = rearrange(luma, "n h w (y a x b) -> n (h y) (w x) (a b)", y=_CELL, a=_CELL, x=_CELL, b=_CELL)
    return cells.permute(0, 3, 1, 2)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Make a convolution of 3x3 without padding: its input has been padded for all of them."""
    layer = nn.Conv2d(inputs, outputs, 3)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
