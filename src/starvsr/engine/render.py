"""From the frames of one segment to the frames that are written. Knows no files and no threads.

Tiles, network, blending; then, one frame at a time, sharpening, colour transfer, detail, final size, alpha, rounding.
Enlarged frames are held as uint16 [H, W, 3] that spread [-1, 1] over 0..65535: half the memory of float32, and
exact for 8 to 12 bits. Tiles and neighbouring segments are added up in these integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from starvsr.engine.allocator import trim_heap
from starvsr.engine.clip_fit import ClipFit
from starvsr.engine.detail import blend_with_enlargement
from starvsr.engine.segments import Segment
from starvsr.engine.tiles import Tile, TileGrid
from starvsr.engine.upscaler import Session
from starvsr.errors import StarVsrError
from starvsr.imaging.color import adain, wavelet
from starvsr.imaging.frames import enlarge
from starvsr.imaging.sharpening import sharpen_frame
from starvsr.video.pixels import from_unit, to_unit

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
U16Frames = NDArray[np.uint16]
_BAND = 128  # rows of a result that are turned into integers at once: what comes between stays in the cache
_ROUND_TO_8_BITS = np.array([(code + 128) // 257 for code in range(65536)], np.uint8)


def upscale_segment(
    session: Session,
    frames: Sequence[Pixels],
    segment: Segment,
    grid: TileGrid,
    *,
    scale: int = 4,
    fit: ClipFit | None = None,
    first_frame: int = 0,
    device: str = "cpu",
    on_fraction: Callable[[float], None] | None = None,
) -> Iterator[U16Frames]:
    """Enlarge the frames that a segment keeps, its cross-fades included.

    A model that makes one frame after the other, of frames that are not cut into tiles, has each handed on before it
    makes the next: what is held does not grow with the segment.

    Args:
        session: The model at work for a job.
        frames: Frames [start, stop) of the segment, uint8 or uint16 [H, W, 3 or 4]; alpha is not looked at.
        segment: Which of them are kept.
        grid: How each frame is cut into tiles.
        scale: Enlargement by the network.
        fit: How the clip is filled up to a length that the network takes; None takes it as it is.
        first_frame: Index of ``frames[0]`` in the whole video.
        device: Where the network computes.
        on_fraction: Called with the share of the segment that is done.

    Yields:
        ``segment.num_made`` frames, uint16 [scale * H, scale * W, 3] over 0..65535.

    Raises:
        StarVsrError: the network gave values that are no numbers, or a clip of another size.
    """
    fit = fit or ClipFit()
    kept = slice(
        segment.keep_start - segment.fade_before - segment.start,
        segment.keep_stop + segment.fade_after - segment.start,
    )
    tiles = grid.tiles(scale)

    reached = 0.0

    def on_tile(number: int, step: int, steps: int) -> None:
        nonlocal reached
        share = (number + step / steps) / len(tiles)
        if on_fraction is not None and share > reached:  # a model that tells its steps has told its frames with them
            reached = share
            on_fraction(share)

    def made(number: int) -> Iterator[Tensor]:
        """Return the frames of a tile, each [3, h, w]."""
        lq = fit.filled(_clip_of(frames, tiles[number]))  # [1, 3, T, h, w]
        wanted, on_step = fit.moved(kept), partial(on_tile, number)
        return session.upscale(
            lq.to(device), wanted, segment=segment, first_frame=first_frame - fit.before, on_step=on_step
        )

    size = (scale * grid.height, scale * grid.width, 3)
    if len(tiles) == 1:
        for index, frame in _checked(made(0), (3, *size[:2]), segment.num_made):
            codes = np.zeros(size, np.uint16)
            _add_frame(codes, frame, tiles[0], scale)
            del frame
            on_tile(0, index + 1, segment.num_made)
            yield codes
            del codes
        trim_heap()
        return
    store = np.zeros((segment.num_made, *size), np.uint16)
    for number, tile in enumerate(tiles):
        rows, columns = _enlarged_place(tile, scale)
        tile_size = (3, rows.stop - rows.start, columns.stop - columns.start)
        for index, frame in _checked(made(number), tile_size, segment.num_made):
            _add_frame(store[index], frame, tile, scale)
            del frame
        trim_heap()
        on_tile(number, 1, 1)
    yield from store


def _clip_of(frames: Sequence[Pixels], tile: Tile) -> Tensor:
    """Return the tile's part of all frames, float32 [1, 3, T, h, w] in [-1, 1]."""
    clip: Any = np.stack([frame[tile.rows, tile.columns, :3] for frame in frames])
    return to_unit(clip)[None]


def _wrong_number(made: str, wanted: int) -> StarVsrError:
    return StarVsrError(f"the model made {made} frames where {wanted} are wanted: please report it")


def _wrong_size(made: tuple[int, ...], wanted: tuple[int, ...]) -> StarVsrError:
    return StarVsrError(f"the model made {made} where {wanted} is wanted: please report it")


def _checked(frames: Iterator[Tensor], wanted: tuple[int, ...], count: int) -> Iterator[tuple[int, Tensor]]:
    """Yield frames with their numbers; refuse those of another size than is wanted, and another number of them."""
    numbers = iter(range(count))
    for frame in frames:
        if tuple(frame.shape) != wanted:
            raise _wrong_size(tuple(frame.shape), wanted)
        number = next(numbers, None)
        if number is None:
            raise _wrong_number(f"more than {count}", count)
        yield number, frame
        del frame  # it would be held while the next one is made
    left = len(tuple(numbers))
    if left:
        raise _wrong_number(str(count - left), count)


def _add_frame(codes: U16Frames, frame: Tensor, tile: Tile, scale: int) -> None:
    """Add a weighted tile [3, h, w] to a frame [H, W, 3]; fractions are cut, so the sum of tiles cannot overflow."""
    rows, columns = _enlarged_place(tile, scale)
    weight, height = _weight_map(tile), rows.stop - rows.start
    frame = frame.to("cpu", torch.float32)
    for top in range(0, height, _BAND):
        band = slice(top, min(top + _BAND, height))
        part = to_codes(frame[:, band].permute(1, 2, 0))  # [rows, w, 3]
        if weight is not None:
            part = part.mul_((weight if len(weight) == 1 else weight[band])[..., None])  # fractions are cut next
        codes[rows.start + band.start : rows.start + band.stop, columns] += part.to(torch.uint16).numpy()


def _enlarged_place(tile: Tile, scale: int) -> tuple[slice, slice]:
    """Return the rows and the columns of a result that a tile makes."""
    rows, columns = tile.rows, tile.columns
    return slice(rows.start * scale, rows.stop * scale), slice(columns.start * scale, columns.stop * scale)


def _weight_map(tile: Tile) -> Tensor | None:
    """Return the weights [h or 1, w or 1] of the enlarged tile; None when all are 1."""
    rows, columns = (None if w is None else torch.tensor(w) for w in (tile.row_weights, tile.column_weights))
    if rows is None:
        return None if columns is None else columns[None]
    return rows[:, None] if columns is None else rows[:, None] * columns


def to_codes(pixels: Tensor) -> Tensor:
    """Turn pixels in [-1, 1] into rounded float32 codes 0..65535 on the CPU; refuse what is no number."""
    codes = pixels.to("cpu", torch.float32).mul(32767.5).add_(32768.0).clamp_(0, 65535).floor_()
    if not bool(torch.isfinite(codes.sum())):
        raise StarVsrError("the network gave values that are no numbers: try --precision fp32")
    return codes


def from_codes(store: U16Frames) -> Tensor:
    """Turn one frame of codes [H, W, 3] into pixels, float32 [3, H, W] in [-1, 1]."""
    return torch.from_numpy(store.astype(np.float32)).permute(2, 0, 1).div(32767.5).sub_(1)


def join_segments(parts: Iterable[tuple[Segment, Iterable[U16Frames]]]) -> Iterator[tuple[int, U16Frames]]:
    """Yield (frame index, codes [H, W, 3]) once for each frame, blending the cross-fades of neighbours.

    Holds the frames of one cross-fade and one more: each is handed on before the next is asked for.
    """
    tail: list[U16Frames] = []  # the earlier segment's frames around the next border
    for segment, frames in parts:
        first, end = segment.keep_start - segment.fade_before, segment.num_made - 2 * segment.fade_after
        next_tail: list[U16Frames] = []
        places = iter(range(segment.num_made))  # enumerate would hold a frame while the next one is made
        for codes in frames:
            position = next(places)
            if position >= end:
                next_tail.append(owned(codes))
            elif position < len(tail):
                yield first + position, blend(tail[position], codes, position, len(tail))
            else:
                yield first + position, codes
            del codes
        tail = next_tail
        del frames


def owned(codes: U16Frames) -> U16Frames:
    """Return a frame that keeps no other one in memory: itself, or a copy of a view."""
    return codes if codes.base is None else codes.copy()


def blend(earlier: U16Frames, later: U16Frames, position: int, length: int) -> U16Frames:
    """Blend two frames linearly: at ``position`` of a cross-fade ``length`` frames long."""
    share = 2 * position + 1
    mixed = earlier.astype(np.uint32) * (2 * length - share) + later.astype(np.uint32) * share
    return ((mixed + length) // (2 * length)).astype(np.uint16)


@dataclass(frozen=True)
class Finish:
    """How a frame is finished.

    Args:
        width: Width of the output in pixels.
        height: Height of the output in pixels.
        color: "none", "adain" or "wavelet".
        keep_alpha: Whether the output holds the input's alpha; it is enlarged independently.
        detail: Share of the result, 0 to 1, the rest being the bicubic enlargement of the input; None is the result.
        sharpen: How much its fine texture is brought out; 0 leaves it as it is.
    """

    width: int
    height: int
    color: str = "none"
    keep_alpha: bool = False
    detail: float | None = None
    sharpen: float = 0

    def __call__(self, codes: U16Frames, lq: Pixels) -> Pixels:
        """Finish one frame.

        Args:
            codes: uint16 [H, W, 3] over 0..65535, as the network's size has it.
            lq: The input frame, uint8 or uint16 [h, w, 3 or 4].

        Returns:
            [height, width, 3 or 4] of the input's type.
        """
        rgb = self._rgb(codes, lq)
        if not (self.keep_alpha and lq.shape[2] == 4):
            return rgb
        alpha = to_unit(lq[None, :, :, 3:])[:, 0]  # [1, h, w]
        return np.concatenate([rgb, _rounded(resize(alpha, self.height, self.width), lq.dtype)], axis=2)

    def _rgb(self, codes: U16Frames, lq: Pixels) -> Pixels:
        color = self.color
        if self.sharpen:
            codes = sharpen_frame(codes, self.sharpen, codes.shape[0] // lq.shape[0])
        if self.detail is not None:
            if color != "none":  # before the blend: the enlargement has the input's colours
                codes = to_codes(self._colored(codes, lq).permute(1, 2, 0)).to(torch.uint16).numpy()
                color = "none"
            codes = blend_with_enlargement(codes, lq, self.detail)
        same_size = codes.shape[:2] == (self.height, self.width)
        if same_size and color == "none":
            return _ROUND_TO_8_BITS[codes] if lq.dtype == np.uint8 else codes.copy()  # no view of the segment
        hq = from_codes(codes) if color == "none" else self._colored(codes, lq)  # [3, H, W]
        return _rounded(hq if same_size else resize(hq, self.height, self.width), lq.dtype)

    def _colored(self, codes: U16Frames, lq: Pixels) -> Tensor:
        return _with_colors(from_codes(codes), to_unit(lq[None, :, :, :3])[:, 0], self.color)


def _with_colors(hq: Tensor, lq: Tensor, color: str) -> Tensor:
    target, source = hq[None, :, None], lq[None, :, None]  # [1, 3, 1, H, W], [1, 3, 1, h, w]
    if color == "adain":
        return adain(target, source)[0, :, 0]
    height, width = hq.shape[1:]
    return wavelet(target, enlarge(source, height, width, "bicubic"))[0, :, 0]


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """Resize a picture [C, H, W] by antialiased bicubic interpolation, without overshoot beyond [-1, 1]."""
    size = (height, width)
    resized = F.interpolate(picture[None], size, mode="bicubic", align_corners=False, antialias=True)
    return resized[0].clamp_(-1, 1)


def _rounded(picture: Tensor, dtype: np.dtype) -> NDArray:
    return from_unit(picture[:, None], 8 if dtype == np.uint8 else 16)[0]
