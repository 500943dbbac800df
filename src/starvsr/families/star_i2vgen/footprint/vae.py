"""How many bytes the temporal autoencoder has alive at most, counted from shapes. No torch.

Goes through models/vae/temporal.py as it runs without gradients; see network.py for what is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starvsr.offload.live_bytes import LiveBytesCounter, largest_chunk

if TYPE_CHECKING:
    from starvsr.models.vae.temporal import TemporalVaeConfig

STRIP_VALUES, SPATIAL_VALUES, QUERIES_AT_ONCE = 1 << 21, 1 << 24, 2048
"""As in models/vae/temporal.py; a test compares them."""

TILE_OVERLAP = 12
"""As in models/vae/codec.py."""


@dataclass(frozen=True)
class Coding:
    """How frames are encoded or decoded.

    Args:
        frames: Frames of a group; encoding takes one at a time.
        height: Latent rows of a tile.
        width: Latent columns of a tile.
        item: Bytes of a number in maps.
        autocast: Whether norms compute in float32 beside maps of a shorter type.
        strip_values: Values of a strip in the temporal layers.
        spatial_values: Values of a strip in the spatial layers.
    """

    frames: int
    height: int
    width: int
    item: int = 4
    autocast: bool = False
    strip_values: int = STRIP_VALUES
    spatial_values: int = SPATIAL_VALUES


def tile_side(cells: int, count: int) -> int:
    """Return the longest tile of an axis cut by `starvsr.models.vae.codec.axis_tiles`."""
    overlap = min(TILE_OVERLAP, cells // 2)
    return cells if count == 1 else min(cells, max(-(-(cells + (count - 1) * overlap) // count), overlap + 1))


def decode_bytes(config: TemporalVaeConfig, coding: Coding) -> LiveBytesCounter:
    """Count one call of the decoder."""
    return _Walk(config, coding).decode()


def encode_bytes(config: TemporalVaeConfig, coding: Coding) -> LiveBytesCounter:
    """Count one call of the encoder, on one frame."""
    return _Walk(config, coding).encode()


class _Walk:
    def __init__(self, config: TemporalVaeConfig, coding: Coding) -> None:
        self.config, self.coding, self.count = config, coding, LiveBytesCounter()
        self.norm_item = 4 if coding.autocast else coding.item

    def frame(self, channels: int, scale: int) -> int:
        """Bytes of a map of one frame, ``scale`` times the latent grid."""
        return self.coding.item * channels * scale**2 * self.coding.height * self.coding.width

    def rows(self, channels: int, scale: int, values: int, frames: int = 1) -> int:
        """Rows of a strip of about so many values."""
        return largest_chunk(scale * self.coding.height, frames * channels * scale * self.coding.width, values)

    def strip(self, channels: int, scale: int, rows: int, item: int) -> int:
        """Bytes of some rows of one frame."""
        return item * channels * rows * scale * self.coding.width

    # ---- layers on one frame, whose input is alive

    def norm_conv(self, cin: int, cout: int, scale: int, cin_at_once: int | None = None) -> None:
        """Touch what a norm, SiLU and convolution have alive beside their input, and hold their result."""
        height = scale * self.coding.height
        rows = self.rows(cin, scale, self.coding.spatial_values)
        out = self.frame(cout, scale)
        cast = self.coding.item if self.coding.autocast else 0
        if rows == height:
            normed = self.strip(cin, scale, height, self.norm_item)
            self.count.touch(normed + self.strip(cin, scale, height, cast) + out)
            self.count.hold(out)
            return
        made_before = 0
        for seen in _seen_rows(height, rows):
            normed = self.strip(cin, scale, seen, self.norm_item)
            made = self.strip(cout, scale, seen, self.coding.item)
            copy = self.strip(cin, scale, seen, 4) if self.coding.autocast else 0
            self.count.touch(made_before + normed + max(copy, self.strip(cin, scale, seen, cast) + made))
            if not made_before:
                self.count.hold(out)
                self.count.touch(made)
            made_before = made

    def res(self, cin: int, cout: int, scale: int) -> None:
        """Hold the result of a residual block on one frame."""
        self.norm_conv(cin, cout, scale)
        self.norm_conv(cout, cout, scale)
        if cin != cout:
            rows = self.rows(cin, scale, self.coding.spatial_values)
            self.count.touch(self.strip(cout, scale, rows, self.coding.item))
        self.count.drop(self.frame(cout, scale))

    def upsample(self, channels: int, scale: int) -> None:
        """Hold the enlarged map of one frame; ``scale`` is that of the result."""
        out, height = self.frame(channels, scale), scale // 2 * self.coding.height
        rows = largest_chunk(height, 2 * channels * scale * self.coding.width, self.coding.spatial_values)
        if rows == height:
            self.count.touch(2 * out)
            self.count.hold(out)
            return
        made_before = 0
        for seen in _seen_rows(height, rows):
            made = self.strip(channels, scale, 2 * seen, self.coding.item)
            self.count.touch(made_before + 2 * made)
            if not made_before:
                self.count.hold(out)
                self.count.touch(made)
            made_before = made

    def attention(self, channels: int) -> None:
        """Hold the result of the attention over the pixels of one frame."""
        frame = self.frame(channels, 1)
        cells = self.coding.height * self.coding.width
        self.count.touch(7 * frame + 4 * cells)
        self.count.hold(frame)

    # ---- decoder

    def decode(self) -> LiveBytesCounter:
        config, frames = self.config, self.coding.frames
        last = config.channels[-1]
        self.count.hold(frames * self.frame(last, 1))
        self.spatio_temporal(last, last, 1)
        if config.layers_per_block > 1:  # one attention and the block behind it, however many there are
            for _frame in range(frames):
                self.attention(last)
                self.count.drop(self.frame(last, 1))
            self.spatio_temporal(last, last, 1)
        current, scale = last, 1
        for level, channels in enumerate(reversed(config.channels)):
            self.count.enter(f"decoder level {level}")
            enlarge = level > 0
            scale *= 2 if enlarge else 1
            for _ in range(config.layers_per_block + 1):
                self.spatio_temporal(current, channels, scale, enlarge=enlarge)
                current, enlarge = channels, False
            self.count.leave()
        for _ in range(frames):
            self.norm_conv(current, 3, scale)
            self.count.drop(self.frame(current, scale))
        self.count.touch(frames * self.frame(3, scale))
        return self.count

    def spatio_temporal(self, cin: int, cout: int, scale: int, *, enlarge: bool = False) -> None:
        frames = self.coding.frames
        given = self.frame(cin, scale // 2 if enlarge else scale)
        for _ in range(frames):
            if enlarge:
                self.upsample(cin, scale)
            self.res(cin, cout, scale)
            if enlarge:
                self.count.drop(self.frame(cin, scale))
            self.count.drop(given)
        rows = self.rows(cout, scale, self.coding.strip_values, frames)
        height, kept = scale * self.coding.height, 0
        for start in range(0, height, rows):
            part = min(rows, height - start)
            strip = frames * self.strip(cout, scale, part, self.coding.item)
            normed = frames * self.strip(cout, scale, part, self.norm_item)
            copy = normed if self.coding.autocast else 0
            whole = strip if rows == height else 0  # what lies between the convolutions is kept when one strip is all
            self.count.touch(kept + whole + strip + normed + copy)
            kept = strip

    # ---- encoder

    def encode(self) -> LiveBytesCounter:
        config, count = self.config, self.count
        scale = config.factor
        current = config.channels[0]
        count.hold(self.frame(current, scale))
        for level, channels in enumerate(config.channels):
            count.enter(f"encoder level {level}")
            for _ in range(config.layers_per_block):
                self.res(current, channels, scale)
                count.drop(self.frame(current, scale))
                current = channels
            if level != len(config.channels) - 1:
                rows, columns = scale * self.coding.height + 1, scale * self.coding.width + 1
                padded = self.coding.item * current * rows * columns
                scale //= 2
                made = self.frame(current, scale)
                count.touch(padded + made)
                count.hold(made)
                count.drop(self.frame(current, 2 * scale))
            count.leave()
        for step in range(3):
            if step == 1:
                self.attention(current)
            else:
                self.res(current, current, scale)
            count.drop(self.frame(current, scale))
        return count


def _seen_rows(height: int, rows: int) -> list[int]:
    """Rows that each strip of ``rows`` reads, with one more on each side where there is one."""
    starts = range(0, height, rows)
    return [min(height, start + rows + 1) - max(0, start - 1) for start in starts]
