"""The network of DOVER's technical view: Swin-T over space and time with gated relative position biases.

The input is a mosaic of fragments that were not neighbours in the picture, so positions have two tables of biases: one
for pairs within a fragment, one for pairs across fragments. Modules are named as the published weights name them.

Sources: Liu et al. 2022 (arXiv 2106.13230), Wu et al. 2022 (arXiv 2207.02595, section on GRPB), Wu et al. 2023 (arXiv
2211.04894).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size3 = tuple[int, int, int]

WINDOW: Size3 = (8, 7, 7)
_OUT_OF_REACH = -100.0
_WINDOWS_AT_ONCE = 16


def split_windows(x: Tensor, window: Size3) -> Tensor:
    """Cut [B, D, H, W, C] into windows [B, number of windows, positions in a window, C], in row-major order.

    Sides have to be multiples of the window's.
    """
    batch, *sides, channels = x.shape
    (nd, nh, nw), (d, h, w) = (side // one for side, one in zip(sides, window, strict=True)), window
    x = x.reshape(batch, nd, d, nh, h, nw, w, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, nd * nh * nw, d * h * w, channels)


def join_windows(windows: Tensor, window: Size3, sides: Size3) -> Tensor:
    """Undo :func:`split_windows`."""
    batch, channels = windows.shape[0], windows.shape[-1]
    (nd, nh, nw), (d, h, w) = (side // one for side, one in zip(sides, window, strict=True)), window
    x = windows.reshape(batch, nd, nh, nw, d, h, w, channels).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(batch, *sides, channels)


def position_index(window: Size3) -> Tensor:
    """Return which entry of a table of biases belongs to each pair of positions of a window.

    Returns:
        int64 [N, N]; a table has an entry for each difference of positions, (2 d - 1) (2 h - 1) (2 w - 1) of them.
    """
    axes = [torch.arange(side, device="cpu") for side in window]  # also where a network is built empty
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # [3, N]
    differences = places[:, :, None] - places[:, None] + torch.tensor(window, device="cpu")[:, None, None] - 1
    index = torch.zeros_like(differences[0])
    for difference, side in zip(differences, window, strict=True):
        index = index * (2 * side - 1) + difference
    return index


@dataclass(frozen=True)
class WindowPlaces:
    """Where the positions of each window lie, after the cyclic shift.

    Args:
        fragments: row and column of the fragment that a position belongs to, [number of windows, N, 2].
        regions: number of the region it belongs to, [number of windows, N]: positions that only the cyclic shift has
            brought together do not see each other. None where nothing was shifted.
    """

    fragments: Tensor
    regions: Tensor | None


def window_places(sides: Size3, window: Size3, shift: Size3) -> WindowPlaces:
    """Compute where the positions of each window lie.

    The picture is a mosaic of as many fragments along height and width as the window has positions there (7 x 7).
    """
    rows, columns = (torch.arange(side) * count // side for side, count in zip(sides[1:], window[1:], strict=True))
    fragments = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).expand(*sides, 2)
    fragments = fragments.roll([-one for one in shift], (0, 1, 2))
    regions = None
    if any(shift):
        parts = [_parts(*one) for one in zip(sides, window, shift, strict=True)]
        number = parts[0][:, None, None] * 9 + parts[1][:, None] * 3 + parts[2]
        regions = split_windows(number[None, ..., None], window)[0, ..., 0]
    return WindowPlaces(split_windows(fragments[None].float(), window)[0], regions)


def _parts(side: int, window: int, shift: int) -> Tensor:
    """Tell the positions of a shifted axis apart: the windows before the last, its beginning, and what came around."""
    places = torch.arange(side)
    return (places >= side - window).long() + (places >= side - shift).long() if shift else torch.zeros_like(places)


class WindowAttention(nn.Module):
    """Self-attention within windows, with biases by the difference of positions.

    Args:
        dim: channels.
        num_heads: heads.
        window: positions of a window along time, height and width.
        has_fragment_bias: whether pairs within a fragment have a table of their own.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window: Size3, has_fragment_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        entries = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(entries, num_heads))
        self.fragment_position_bias_table = nn.Parameter(torch.zeros(entries, num_heads)) if has_fragment_bias else None
        self.register_buffer("relative_position_index", position_index(window), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, places: WindowPlaces) -> Tensor:
        """Return the attended windows, [B, number of windows, N, C] as given."""
        across = self._biases(self.relative_position_bias_table)
        within = None if self.fragment_position_bias_table is None else self._biases(self.fragment_position_bias_table)
        found = []
        for begin in range(0, windows.shape[1], _WINDOWS_AT_ONCE):  # biases of all windows at once would fill memory
            chosen = slice(begin, begin + _WINDOWS_AT_ONCE)
            regions = None if places.regions is None else places.regions[chosen]
            bias = _gated(across, within, places.fragments[chosen], regions)
            qkv = self.qkv(windows[:, chosen]).unflatten(-1, (3, self.num_heads, -1))  # [B, n, N, 3, heads, c]
            query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)
            found.append(F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(2, 3).flatten(3))
        return torch.as_tensor(self.proj(torch.cat(found, dim=1)))

    def _biases(self, table: Tensor) -> Tensor:
        """Return a table's entry for each pair of positions, [heads, N, N]."""
        return table[self.relative_position_index].permute(2, 0, 1)


def _gated(across: Tensor, within: Tensor | None, fragments: Tensor, regions: Tensor | None) -> Tensor:
    """Return the bias of each pair of positions of each window.

    The gate is the number of fragments (rows plus columns) that lie between the two positions: 0 takes the table of
    pairs within a fragment, 1 that of pairs across, and more extrapolates from the one over the other, as the published
    network does.

    Args:
        across: [heads, N, N].
        within: as `across`; None for a layer without gates.
        fragments: [n, N, 2].
        regions: [n, N] or None.

    Returns:
        [n, heads, N, N]; [1, heads, N, N] where nothing depends on the window.
    """
    bias = across[None]
    if within is not None:
        gate = (fragments[:, :, None] - fragments[:, None]).abs().sum(-1)[:, None]
        bias = bias * gate + within * (1 - gate)
    if regions is not None:
        is_apart = (regions[:, :, None] != regions[:, None])[:, None]
        bias = bias + _OUT_OF_REACH * is_apart
    return bias


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape given."""
        return torch.as_tensor(self.fc2(F.gelu(self.fc1(x))))


class SwinBlock(nn.Module):
    """Attention within windows, then an MLP, each on normalised input and added to it.

    Args:
        dim: channels.
        num_heads: heads of attention.
        window: its size.
        is_shifted: whether windows lie half a window further.
        has_fragment_bias: see `WindowAttention`.
    """

    def __init__(self, dim: int, num_heads: int, window: Size3, is_shifted: bool, has_fragment_bias: bool) -> None:
        super().__init__()
        self.window, self.is_shifted = window, is_shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window, has_fragment_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, D, H, W, C] as given; sides are multiples of the window's."""
        _, depth, height, width, _ = x.shape
        sides = (depth, height, width)
        shift = self._shift(sides)
        places = window_places(sides, self.window, shift)
        on_device = WindowPlaces(
            places.fragments.to(x.device), None if places.regions is None else places.regions.to(x.device)
        )
        shifted = self.norm1(x).roll([-one for one in shift], (1, 2, 3))
        attended = self.attn(split_windows(shifted, self.window), on_device)
        x = x + join_windows(attended, self.window, sides).roll(shift, (1, 2, 3))
        return torch.as_tensor(x + self.mlp(self.norm2(x)))

    def _shift(self, sides: Size3) -> Size3:
        """Return by how much windows are shifted; along an axis that one window fills they are not."""
        depth, height, width = (
            window // 2 if self.is_shifted and side > window else 0
            for side, window in zip(sides, self.window, strict=True)
        )
        return depth, height, width


class PatchMerging(nn.Module):
    """Halve height and width and double the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, D, H / 2, W / 2, 2 C] of [B, D, H, W, C]."""
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return torch.as_tensor(self.reduction(self.norm(torch.cat(corners, dim=-1))))


class Stage(nn.Module):
    """Blocks of one resolution, every other one with shifted windows, then a halving unless it is the last."""

    def __init__(
        self, dim: int, depth: int, num_heads: int, window: Size3, has_fragment_bias: bool, last: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, num_heads, window, index % 2 == 1, has_fragment_bias) for index in range(depth)
        )
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, D, H / 2, W / 2, 2 C], of the last stage [B, D, H, W, C]."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else torch.as_tensor(self.downsample(x))


class PatchEmbed(nn.Module):
    """Patches of 2 frames by 4x4 pixels, normalised over channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, dim, (2, 4, 4), stride=(2, 4, 4))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T / 2, H / 4, W / 4, C] of [B, 3, T, H, W]."""
        return torch.as_tensor(self.norm(self.proj(x).movedim(1, -1)))


class SwinTransformer3D(nn.Module):
    """Swin-T over space and time; the last stage has no gates, there every position is a fragment of its own.

    Args:
        dim: channels of the first stage; they double from stage to stage.
        depths: blocks of each stage.
        heads: heads of each stage.
        window: positions of a window along time, height and width.
    """

    def __init__(
        self,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: Size3 = WINDOW,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            Stage(dim * 2**index, depth, count, window, index < last, index == last)
            for index, (depth, count) in enumerate(zip(depths, heads, strict=True))
        )
        self.norm = nn.LayerNorm(dim * 2**last)

    def forward(self, x: Tensor) -> Tensor:
        """Return features [B, 8 C, T / 2, H / 32, W / 32] of [B, 3, T, H, W] (32 frames of 224x224)."""
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return torch.as_tensor(self.norm(x).movedim(-1, 1))
