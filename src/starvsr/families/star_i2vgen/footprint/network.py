"""How many bytes one call of the STAR network has alive at most, counted from shapes. No torch.

Goes through the call as models/star/unet.py makes it without gradients, and counts what is alive. What libraries take
inside a kernel is not seen here; the plan leaves a margin for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.star_i2vgen.footprint.layout import Block, Layout, Part
from starvsr.offload.live_bytes import LiveBytesCounter, largest_chunk

LOGSUMEXP_BYTES = 4
"""What fused attention keeps beside its result for each query and head."""


@dataclass(frozen=True)
class Call:
    """One call of the network.

    Args:
        frames: Frames T.
        height: Latent rows.
        width: Latent columns.
        clips: Clips (or texts) B that go through together.
        item: Bytes of a number.
        at_once: Values of a map that are worked on at once.
        chunk: Tokens that go through a feed-forward at once.
    """

    frames: int
    height: int
    width: int
    clips: int = 1
    item: int = 2
    at_once: int = 1 << 62
    chunk: int = 4096


def call_bytes(layout: Layout, call: Call) -> LiveBytesCounter:
    """Return the count of one call: `LiveBytesCounter.peak` is the peak over what is alive before it."""
    return _Walk(layout, call).run()


class _Walk:
    def __init__(self, layout: Layout, call: Call) -> None:
        self.layout, self.call, self.count = layout, call, LiveBytesCounter()
        self.grids = [(call.height, call.width)]
        for _ in layout.config.channels[1:]:
            rows, columns = self.grids[-1]
            self.grids.append(((rows + 1) // 2 + 1, (columns + 1) // 2))

    # ---- sizes

    def frame(self, channels: int, level: int) -> int:
        """Values of one frame."""
        rows, columns = self.grids[level]
        return channels * rows * columns

    def map(self, channels: int, level: int) -> int:
        """Bytes of a map of all frames."""
        return self.call.item * self.call.clips * self.call.frames * self.frame(channels, level)

    def frames_at_once(self, values_each: int) -> int:
        """Frames in a piece; all clips go at once when they fit."""
        total = self.call.clips * self.call.frames
        if total * values_each <= self.call.at_once:
            return total
        return largest_chunk(self.call.frames, values_each, self.call.at_once)

    # ---- the call

    def run(self) -> LiveBytesCounter:
        count, layout = self.count, self.layout
        latents = self.map(layout.config.in_channels, 0)
        count.hold(2 * latents)  # latents and hint, channels last
        skips: list[int] = []
        control = own = 0
        for number, block in enumerate(layout.encoder):
            channels, level = layout.skips[number]
            out = self.map(channels, level)
            count.enter(f"encoder {number}")
            own = self.block(block, own, out)
            count.leave()
            count.enter(f"control {number}")
            control = self.block(block, control, out, hint=number == 0)
            count.hold(out)  # the control map, which becomes the skip
            count.leave()
            skips.append(out)
        last = self.map(layout.config.channels[-1], len(layout.config.channels) - 1)
        count.enter("middle")
        own = self.block(layout.middle, own, last)
        control = self.block(layout.middle, control, last)
        count.touch(last)
        count.hold(last)
        count.drop(own)
        own = last
        count.leave()
        for number, block in enumerate(layout.decoder):
            count.enter(f"decoder {number}")
            part = block[-1]
            out = self.map(part.cout, part.level - (part.kind == "up"))
            own = self.block(block, own + skips.pop(), out, joined=True)
            count.leave()
        self.head()
        return count

    def block(self, block: Block, given: int, out: int, *, hint: bool = False, joined: bool = False) -> int:
        """Go through a block whose input has ``given`` bytes, which it frees; returns the bytes of its output."""
        held = given
        for part in block:
            made = self.map(part.cout, part.level + {"down": 1, "up": -1}.get(part.kind, 0))
            if part.kind == "res":
                self.res(part, held, made, joined=joined)
                held, joined = made, False
            elif part.kind == "spatial":
                self.spatial(part)
            elif part.kind == "temporal":
                self.temporal(part)
            else:
                self.resample(part, held, made)
                held = made
                if hint:
                    self.count.touch(made)
        assert held == out
        return held

    def res(self, part: Part, given: int, made: int, *, joined: bool) -> None:
        count, item = self.count, self.call.item
        frames = self.frames_at_once(self.frame(part.cin, part.level))
        wide, narrow = (item * frames * self.frame(channels, part.level) for channels in (part.cin, part.cout))
        skip = narrow if part.cin != part.cout else 0
        piece = wide * joined + max(wide + narrow, 3 * narrow, 2 * narrow + skip)
        whole = frames == self.call.clips * self.call.frames
        count.touch(piece)
        count.hold(made)
        if not whole:
            count.touch(piece)
        count.drop(given)
        if part.stages:
            self.statistics(part.cout, part.level)
            inner = made if part.stages > 1 else 0
            count.hold(inner)
            count.touch(2 * self.strip(part.cout, part.level))
            count.drop(inner)

    def strip(self, channels: int, level: int) -> int:
        """Bytes of a strip of rows of all frames."""
        rows, columns = self.grids[level]
        each = self.call.clips * self.call.frames * channels * columns
        return self.call.item * each * largest_chunk(rows, each, self.call.at_once)

    def is_cut(self, channels: int, level: int) -> bool:
        """Whether a clip is worked on in more than one strip."""
        return self.strip(channels, level) < self.map(channels, level)

    def statistics(self, channels: int, level: int) -> None:
        """Count the float32 copies from which a norm over the clip takes its statistics."""
        if self.call.item < 4 and self.is_cut(channels, level):
            each = self.call.clips * self.frame(channels, level)
            self.count.touch(4 * each * largest_chunk(self.call.frames, each, self.call.at_once))

    def spatial(self, part: Part) -> None:
        values = self.frame(part.cin, part.level)
        frames = self.frames_at_once(values)
        tokens = self.call.item * frames * values
        queries = frames * values // self.layout.config.head_dim
        self.transformer(tokens, queries, frames * values // part.inner, part.inner)

    def temporal(self, part: Part) -> None:
        self.statistics(part.cin, part.level)
        strip = self.strip(part.cin, part.level)
        values = strip // self.call.item
        inner = values // part.cin * part.inner
        self.count.hold(strip)
        self.count.touch(strip + self.call.item * inner)
        self.transformer(self.call.item * inner, inner // self.layout.config.head_dim, inner // part.inner, part.inner)
        self.count.drop(strip)

    def transformer(self, tokens: int, queries: int, count: int, width: int) -> None:
        """Count a block on ``count`` tokens of ``width`` features, ``tokens`` bytes: self attention holds the most."""
        wide = 8 * width * min(count, self.call.chunk) * self.call.item
        self.count.touch(6 * tokens + LOGSUMEXP_BYTES * queries)
        self.count.touch(3 * tokens + wide)

    def resample(self, part: Part, given: int, made: int) -> None:
        if part.kind == "up":
            values = 4 * self.frame(part.cin, part.level)
            total = self.call.clips * self.call.frames
            frames = largest_chunk(total, values, self.call.at_once)
            piece = self.call.item * frames * (values + self.frame(part.cout, part.level - 1))
            if frames == total:
                self.count.touch(piece)
            else:
                self.count.touch(made + piece)
        self.count.hold(made)
        self.count.drop(given)

    def head(self) -> None:
        values = self.frame(self.layout.config.width, 0)
        frames = largest_chunk(self.call.clips * self.call.frames, values, self.call.at_once)
        self.count.touch(self.call.item * frames * values)
