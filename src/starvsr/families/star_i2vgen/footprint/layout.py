"""The STAR network as a list of parts with their sizes: what the count of bytes goes through. No torch.

Mirrors models/star/encoder.py, unet.py and control.py; a test compares the numbers of parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from starvsr.models.star.config import StarUNetConfig

Kind = Literal["conv", "zero", "res", "spatial", "temporal", "down", "up"]


@dataclass(frozen=True)
class Part:
    """One module of a block.

    Args:
        kind: What it is.
        cin: Channels in.
        cout: Channels out.
        level: Number of halvings of its input's grid.
        inner: Features inside a transformer.
        stages: Temporal convolutions of a residual block.
    """

    kind: Kind
    cin: int
    cout: int
    level: int
    inner: int = 0
    stages: int = 0

    def num_parameters(self, config: StarUNetConfig) -> int:
        """Return how many numbers its weights are."""
        if self.kind in ("conv", "down", "up"):
            return _conv(self.cin, self.cout, 9)
        if self.kind == "zero":
            return _conv(self.cin, self.cout, 1)
        if self.kind == "res":
            shift = _conv(4 * config.width, self.cout, 1)
            skip = _conv(self.cin, self.cout, 1) if self.cin != self.cout else 0
            convs = _conv(self.cin, self.cout, 9) + _conv(self.cout, self.cout, 9)
            norms = 2 * self.cin + 2 * self.cout
            return shift + skip + convs + norms + self.stages * (_conv(self.cout, self.cout, 3) + 2 * self.cout)
        width = self.inner
        context = config.context_dim if self.kind == "spatial" else width
        gates = 98 * config.liem_space if self.kind == "spatial" else 4 * config.liem_time
        attentions = 4 * width * width + width + 2 * width * width + 2 * context * width + width
        feed_forward = _conv(width, 8 * width, 1) + _conv(4 * width, width, 1)
        ends = 2 * self.cin + _conv(self.cin, width, 1) + _conv(width, self.cin, 1)
        return ends + attentions + feed_forward + 6 * width + gates


def _conv(cin: int, cout: int, taps: int) -> int:
    return cin * cout * taps + cout


Block = tuple[Part, ...]


@dataclass(frozen=True)
class Layout:
    """All blocks of a network: encoder and middle, which the ControlNet has too, and decoder."""

    config: StarUNetConfig
    encoder: tuple[Block, ...]
    middle: Block
    decoder: tuple[Block, ...]

    @property
    def skips(self) -> list[tuple[int, int]]:
        """Channels and level of each skip."""
        return [(block[-1].cout, _level_after(block[-1])) for block in self.encoder]

    def block_parameters(self) -> list[int]:
        """Return the parameters of the blocks in the order in which they run, the ControlNet's in step with the UNet's.

        The ControlNet's output convolutions count with its blocks.
        """
        sizes = []
        for number, block in enumerate(self.encoder):
            own = _parameters(block, self.config)
            channels = self.skips[number][0]
            hint = _conv(self.config.in_channels, self.config.width, 9) if number == 0 else 0
            sizes += [own, own + hint + _conv(channels, channels, 1)]
        middle, last = _parameters(self.middle, self.config), self.config.channels[-1]
        sizes += [middle, middle + _conv(last, last, 1)]
        return sizes + [_parameters(block, self.config) for block in self.decoder]

    def modules(self) -> Iterator[Part]:
        """Yield the large modules in the order in which they run, the ControlNet's in step with the UNet's."""
        for block in self.encoder:
            yield from block
            yield from block
            channels = block[-1].cout
            yield Part("zero", channels, channels, 0)
        for _ in range(2):
            yield from self.middle
        yield Part("zero", self.config.channels[-1], self.config.channels[-1], 0)
        for block in self.decoder:
            yield from block

    def other_parameters(self) -> int:
        """Return the parameters outside the blocks: time embeddings and head."""
        width = self.config.width
        time = _conv(width, 4 * width, 1) + _conv(4 * width, 4 * width, 1)
        return 2 * time + 2 * width + _conv(width, self.config.out_channels, 9)

    @property
    def num_parameters(self) -> int:
        """All parameters."""
        return sum(self.block_parameters()) + self.other_parameters()


def _parameters(block: Block, config: StarUNetConfig) -> int:
    return sum(part.num_parameters(config) for part in block)


def _level_after(part: Part) -> int:
    return part.level + {"down": 1, "up": -1}.get(part.kind, 0)


def layout_of(config: StarUNetConfig) -> Layout:
    """List the parts of a network."""
    encoder = tuple(_encoder(config))
    last, level = config.channels[-1], len(config.channels) - 1
    res = Part("res", last, last, level, stages=config.temporal_stages[-1])
    middle = (res, *_transformers(last, level), res)
    skips = [block[-1].cout for block in encoder]
    return Layout(config, encoder, middle, tuple(_decoder(config, skips)))


def _transformers(channels: int, level: int) -> list[Part]:
    return [Part(kind, channels, channels, level, inner=channels) for kind in ("spatial", "temporal")]


def _encoder(config: StarUNetConfig) -> Iterator[Block]:
    first = [Part("conv", config.in_channels, config.width, 0)]
    if config.first_heads:
        first.append(Part("temporal", config.width, config.width, 0, inner=config.first_heads * config.head_dim))
    yield tuple(first)
    current = config.width
    for level, channels in enumerate(config.channels):
        for _ in range(config.res_blocks[level]):
            yield tuple(_level_block(config, current, channels, level))
            current = channels
        if level != len(config.channels) - 1:
            yield (Part("down", current, current, level),)


def _decoder(config: StarUNetConfig, skips: list[int]) -> Iterator[Block]:
    current = config.channels[-1]
    for level in reversed(range(len(config.channels))):
        channels = config.channels[level]
        for index in range(config.res_blocks[level] + 1):
            block = _level_block(config, current + skips.pop(), channels, level)
            current = channels
            if level and index == config.res_blocks[level]:
                block.append(Part("up", current, current, level))
            yield tuple(block)


def _level_block(config: StarUNetConfig, cin: int, cout: int, level: int) -> list[Part]:
    block = [Part("res", cin, cout, level, stages=config.temporal_stages[level])]
    if 0.5**level in config.attn_scales:
        block += _transformers(cout, level)
    return block
