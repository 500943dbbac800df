"""The one step of star-small as it runs for users: the sums of ``StarSmall.one_step``, in less time and memory.

Three things make it cheap, none changes the result beyond rounding:

- What is fixed is folded into weights once: enlarging and encoding become one 5x5 convolution, the time embedding
  goes into biases, the decoder into the last layer, repetition into the kernels of the upsampling convolution.
- The finest level, whose maps are by far the largest, is done a frame at a time; only the coarser levels are held
  for the whole clip. Between them lies one map of the finest level.
- Enlarged frames come out one after the other, and only those that are wanted.

This works because star-small normalises each position on its own and has one residual block at its finest level.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from starvsr.models.attention import Attention
from starvsr.models.blocks import (
    Downsample,
    ResBlock,
    SpatialBlock,
    SpatialTransformer,
    TemporalBlock,
    TemporalTransformer,
    Upsample,
    clip_view,
    frame_view,
)
from starvsr.models.codecs import Codec
from starvsr.models.star_small import BRIGHTNESS_WINDOW, StarSmall

Module = TypeVar("Module", bound=nn.Module)
Enlarge = Callable[[Tensor], Tensor]
"""Brings a clip [B, 3, T, h, w] to the codec's size, [B, 3, T, factor*h, factor*w]; linear, with replicated edges."""

REACH = 2
"""How many input pixels around its own an enlarged square depends on, for bicubic enlargement."""
FINE_FRAMES = 4
"""Frames of the finest level that pass its temporal convolution at once."""
CHUNK_PX = 28_000
"""Positions that go through a residual block at once: maps of this size stay in the processor's cache."""


class OneStep(nn.Module):
    """The inference form of a :class:`StarSmall` for one step at a fixed timestep; its weights are copies.

    Args:
        network: the trained network, in float32.
        codec: pixels to latents; exact and linear.
        enlarge: see :data:`Enlarge`.
        alpha: signal part of the timestep.
        sigma: noise part of the timestep.
        timestep: the timestep.
    """

    def __init__(
        self, network: StarSmall, codec: Codec, enlarge: Enlarge, *, alpha: float, sigma: float, timestep: int
    ) -> None:
        super().__init__()
        unet, control = network.unet, network.unet.VideoControlNet
        config = unet.config
        if config.norm != "channel" or config.res_blocks[0] != 0 or len(config.channels) < 2:
            raise ValueError("this form needs norms over channels and a finest level without encoder blocks")
        self.factor, self.row_step, self.channels = codec.factor, config.row_step, config.width
        with torch.no_grad():
            squares = _unshuffle(codec.factor)
            self.enlarge = _as_convolution(lambda clip: squares(enlarge(clip)), 3 * codec.factor**2)
            self.hint = _as_convolution(lambda clip: codec.encode(enlarge(clip)), codec.channels)
            self.first = _scaled(_conv(unet.input_blocks[0]), 1 / alpha)
            own, low = _scaled(_conv(control.input_blocks[0]), 1 / alpha), control.input_hint_block
            self.control_first = _convolution(own.weight + low.weight, _bias(own) + _bias(low))
            self.control_skip = _copied(_conv(control.zero_convs[0]))
            self.down, self.control_down = _copied(unet.input_blocks[1]), _copied(control.input_blocks[1])
            self.context = nn.Parameter(network.context(1).detach().clone(), requires_grad=False)
            times = torch.tensor([timestep])
            embedding, control_embedding = (net.embed(times, torch.float32) for net in (unet, control))
            self.encoder = nn.ModuleList(_parts(block, embedding) for block in unet.input_blocks[2:])
            self.control_encoder = nn.ModuleList(_parts(block, control_embedding) for block in control.input_blocks[2:])
            self.middle = _parts(unet.middle_block, embedding)
            self.control_middle = _parts(control.middle_block, control_embedding)
            self.control_outs = nn.ModuleList(
                _copied(_conv(out)) for out in [*control.zero_convs[1:], control.middle_block_out]
            )
            *coarse, fine = (_parts(block, embedding) for block in unet.output_blocks)
            self.rise = cast(_Rise, coarse[-1].pop(-1))  # from the second level to the finest
            self.decoder, self.fine = nn.ModuleList(coarse), cast(_Residual, fine[0])
            self.head = nn.Sequential(_copied(unet.out[0]), _pixel_head(cast(nn.Conv2d, unet.out[2]), codec, sigma))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
            elif isinstance(module, nn.Conv3d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        self.requires_grad_(False).eval()

    def to_network_type(self, dtype: torch.dtype) -> OneStep:
        """Convert all but what reads and makes pixels, which stays in float32; returns itself."""
        for name, module in self.named_children():
            if name not in ("enlarge", "hint"):
                module.to(dtype)
        self.context.data = self.context.to(dtype)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """The type that the network computes in."""
        return self.first.weight.dtype

    def forward(self, lq: Tensor, keep: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the enlarged frames of a clip, float32 [3, factor*h, factor*w], about [-1, 1].

        Args:
            lq: low-quality clip [1, 3, T, h, w] float32 in [-1, 1], of any size.
            keep: which frames are wanted; the others serve as context.
        """
        frames = lq[0].transpose(0, 1)  # [T, 3, h, w]
        skip, *lows = self._enter(frames)
        features = self._coarse(lows)
        self._last_block(features, skip)
        del features
        start, stop, _ = keep.indices(len(frames))
        for begin in range(start, stop, FINE_FRAMES):
            end = min(begin + FINE_FRAMES, stop)
            hidden = self.fine.temporal(skip, begin, end)
            for frame, features in zip(frames[begin:end].split(1), hidden.split(1), strict=True):
                yield self._pixels(frame, self.head(features))

    def _enter(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the finest level's encoders: its skip with control, and both nets' maps on the second level."""
        skip: Tensor | None = None
        lows: list[tuple[Tensor, Tensor]] = []
        for index, frame in enumerate(frames.split(1)):
            hint = _padded(self._convolve(frame, self.hint).to(self.dtype), self.row_step)
            features, control = self.first(hint), self.control_first(hint)
            if skip is None:
                shape = (len(frames), *features.shape[1:])
                skip = torch.empty(shape, dtype=self.dtype, device=frames.device).to(memory_format=_LAST)
            torch.add(features, self.control_skip(control), out=skip[index : index + 1])
            lows.append((self.down(features), self.control_down(control)))
        assert skip is not None
        low, control_low = (torch.cat(maps).contiguous(memory_format=_LAST) for maps in zip(*lows, strict=True))
        return skip, low, control_low

    def _convolve(self, frame: Tensor, kernel: nn.Conv2d) -> Tensor:
        return kernel(F.pad(frame, (REACH,) * 4, mode="replicate").contiguous(memory_format=_LAST))

    def _coarse(self, lows: list[Tensor]) -> Tensor:
        """Run all levels but the finest; the result is the second level's, before it rises. Empties ``lows``."""
        control, low = lows.pop(), lows.pop()
        skips, features = [low], low
        for part in self.encoder:
            features = _run(part, features, self.context)
            skips.append(features)
        features = _run(self.middle, features.clone(), self.context)
        outs = iter(self.control_outs)  # the control is added to each map as it is made
        skips[0] += next(outs)(control)
        for skip, part in zip(skips[1:], self.control_encoder, strict=True):
            control = _run(part, control, self.context)
            skip += next(outs)(control)
        features += next(outs)(_run(self.control_middle, control, self.context))
        del control, skip
        for part in self.decoder:
            first, *rest = cast(nn.ModuleList, part)
            features = first(features, skips.pop())
            for module in rest:
                features = _run(module, features, self.context)
        return features

    def _last_block(self, features: Tensor, skip: Tensor) -> None:
        """Rise to the finest level and run its residual block, frame by frame, into the memory of ``skip``."""
        _, channels, height, width = skip.shape
        rising = self.rise.channels
        joined = torch.empty((1, rising + channels, height, width), dtype=skip.dtype, device=skip.device)
        joined = joined.to(memory_format=_LAST)
        for index in range(len(skip)):
            self.rise(features[index : index + 1], joined[:, :rising])
            joined[:, rising:] = skip[index]
            skip[index : index + 1] = self.fine.spatial(joined)

    def _pixels(self, frame: Tensor, change: Tensor) -> Tensor:
        """Add the change [1, factor^2*3, h', w'] of the squares to the enlarged frame.

        Returns:
            [3, factor*h, factor*w], in memory [factor*h, factor*w, 3] as pictures are.
        """
        height, width = frame.shape[-2:]
        squares = self._convolve(frame, self.enlarge)
        squares += change[..., :height, :width]
        means = change[..., :height, :width].unflatten(1, (-1, 3)).mean(1, dtype=torch.float32)
        rows, columns = (min(BRIGHTNESS_WINDOW, size - 1 + size % 2) for size in (height, width))
        average = F.avg_pool2d(means, (rows, columns), 1, (rows // 2, columns // 2), count_include_pad=False)
        squares.unflatten(1, (-1, 3)).sub_(average[:, None])
        pixels = rearrange(squares[0], "(y x c) h w -> h y w x c", y=self.factor, x=self.factor)
        return pixels.reshape(height * self.factor, width * self.factor, 3).permute(2, 0, 1)


_LAST = torch.channels_last


class _Residual(nn.Module):
    """A ResBlock with its time embedding in the biases; its spatial and temporal halves can run apart."""

    def __init__(self, block: ResBlock, embedding: Tensor) -> None:
        super().__init__()
        norm, _, conv = block.in_layers
        self.norm1, self.conv1 = _copied(norm), _copied(cast(nn.Conv2d, conv))
        _bias(self.conv1).data.add_(block.emb_layers(embedding)[0])
        self.norm2, self.conv2 = _copied(block.out_layers[0]), _copied(cast(nn.Conv2d, block.out_layers[3]))
        self.skip = None if isinstance(block.skip_connection, nn.Identity) else _copied(block.skip_connection)
        self.temporal = _Temporal(block)

    def spatial(self, features: Tensor) -> Tensor:
        hidden = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(features), inplace=True))), inplace=True))
        return hidden.add_(features if self.skip is None else self.skip(features))

    def forward(self, *parts: Tensor) -> Tensor:
        """Return [T, cout, h, w] for one clip's maps [T, ., h, w], which are taken side by side."""
        count, _, height, width = parts[0].shape
        shape = (count, self.conv2.out_channels, height, width)
        hidden = torch.empty(shape, dtype=parts[0].dtype, device=parts[0].device).to(memory_format=_LAST)
        step = _frames_at_once(parts[0])
        for begin in range(0, count, step):
            part = [map_[begin : begin + step] for map_ in parts]
            hidden[begin : begin + step] = self.spatial(part[0] if len(part) == 1 else torch.cat(part, 1))
        return self.temporal.over(hidden, step)


def _frames_at_once(features: Tensor) -> int:
    return max(1, CHUNK_PX // (features.shape[-2] * features.shape[-1]))


class _Temporal(nn.Module):
    """The temporal half of a ResBlock on frames [T, C, h, w] of one clip."""

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.block = _copied(block.temopral_conv) if block.has_temporal else None
        self.stages: int = self.block.stages if self.block is not None else 0

    def forward(self, frames: Tensor, begin: int, end: int) -> Tensor:
        """Return frames [begin, end) of the result."""
        if self.block is None:
            return frames[begin:end]
        first, last = max(0, begin - self.stages), min(len(frames), end + self.stages)
        near = clip_view(frames[first:last], last - first)
        return frame_view(self.block(near))[begin - first : end - first]

    def over(self, frames: Tensor, step: int) -> Tensor:
        """Return the whole result, ``step`` frames at a time."""
        step = max(step, 4 * self.stages)  # the frames around a piece are computed twice
        if self.block is None or step >= len(frames):
            return self(frames, 0, len(frames))
        out = torch.empty_like(frames)
        for begin in range(0, len(frames), step):
            end = min(begin + step, len(frames))
            out[begin:end] = self(frames, begin, end)
        return out


class _SelfAttention(nn.Module):
    """Attention of tokens to themselves with one projection for queries, keys and values."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.head_dim = attention.head_dim
        projections = (attention.to_q, attention.to_k, attention.to_v)
        self.weight = nn.Parameter(torch.cat([projection.weight for projection in projections]))
        self.to_out = _copied(attention.to_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [N, L, D] for tokens [N, L, D]."""
        heads = F.linear(tokens, self.weight).unflatten(-1, (3, -1, self.head_dim))  # [N, L, 3, h, d]
        query, key, value = heads.transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


class _Rise(nn.Module):
    """Upsample by 2: repetition and convolution as four 2x2 convolutions, one for each place in a 2x2 square."""

    def __init__(self, upsample: Upsample) -> None:
        super().__init__()
        self.plain = _copied(upsample)
        weight = upsample.conv.weight
        rows = {0: (weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]),
                1: (weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2])}  # fmt: skip
        kernels = []
        for first, second in rows.values():
            both = torch.stack([first, second], 2)  # [O, I, 2, 3]
            kernels.append(torch.stack([both[..., 0], both[..., 1] + both[..., 2]], 3))
            kernels.append(torch.stack([both[..., 0] + both[..., 1], both[..., 2]], 3))
        self.phases = _convolution(torch.cat(kernels), _bias(upsample.conv).repeat(4), padding=(0, 1))

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return self.plain.conv.out_channels

    def forward(self, features: Tensor, out: Tensor | None = None) -> Tensor:
        """Write [N, C, 2h - 2, 2w] for features [N, C, h, w] into ``out``, and return it."""
        count, _, height, width = features.shape
        if out is None:
            shape = (count, self.channels, 2 * height - 2, 2 * width)
            out = torch.empty(shape, dtype=features.dtype, device=features.device).to(memory_format=_LAST)
        phases = self.phases(features).chunk(4, 1)
        for number, phase in enumerate(phases):
            row, column = divmod(number, 2)
            out[:, :, row::2, column::2] = phase[..., column : column + width]
        out[:, :, :1] = self.plain(features[:, :, :2])[:, :, :1]  # there the convolution sees its padding
        out[:, :, -1:] = self.plain(features[:, :, -2:])[:, :, -1:]
        return out


def _run(part: nn.Module, features: Tensor, context: Tensor) -> Tensor:
    """Run a list of folded modules on all frames [T, C, h, w] of a clip; ``features`` may be overwritten."""
    if isinstance(part, nn.ModuleList):
        for module in part:
            features = _run(module, features, context)
        return features
    if isinstance(part, SpatialTransformer):  # frames are apart
        for frames in features.split(_frames_at_once(features)):
            frames.copy_(part(frames, context))
        return features
    if isinstance(part, TemporalTransformer):  # pixels are apart
        for rows in features.split(max(1, CHUNK_PX // (len(features) * features.shape[-1])), dim=2):
            rows.copy_(part(rows, len(rows)))
        return features
    out: Tensor = part(features)
    return out


def _parts(block: nn.Module, embedding: Tensor) -> nn.ModuleList:
    """Fold each module of a block; a lone module counts as a block of one."""
    modules = block if isinstance(block, nn.ModuleList) else [block]
    return nn.ModuleList(_part(module, embedding) for module in modules)


def _part(block: nn.Module, embedding: Tensor) -> nn.Module:
    if isinstance(block, ResBlock):
        return _Residual(block, embedding)
    if isinstance(block, Upsample):
        return _Rise(block)
    assert isinstance(block, Downsample | SpatialTransformer | TemporalTransformer)
    copied = _copied(block)
    for owner in [module for module in copied.modules() if isinstance(module, SpatialBlock | TemporalBlock)]:
        owner.add_module("attn1", _SelfAttention(owner.attn1))
        if isinstance(owner, TemporalBlock):
            owner.add_module("attn2", _SelfAttention(owner.attn2))
    return copied


def _pixel_head(head: nn.Conv2d, codec: Codec, sigma: float) -> nn.Module:
    """Fold decoder and -sigma into the last convolution: it gives the change of each square's pixels."""
    unit = torch.eye(codec.channels)[:, :, None, None, None]  # one latent channel each
    pixels = _unshuffle(codec.factor)(codec.decode(unit))[:, :, 0, 0, 0]  # [latent, pixel]
    weight = torch.einsum("lp,lihw->pihw", pixels, head.weight) * -sigma
    return nn.Sequential(nn.SiLU(inplace=True), _convolution(weight, (_bias(head) @ pixels) * -sigma))


def _unshuffle(factor: int) -> Enlarge:
    """Return the function that orders pixels [B, 3, T, H, W] by squares: [B, factor^2*3, T, h, w], colours last."""

    def unshuffled(clip: Tensor) -> Tensor:
        return rearrange(clip, "b c t (h y) (w x) -> b (y x c) t h w", y=factor, x=factor)

    return unshuffled


def _as_convolution(linear: Enlarge, channels: int) -> nn.Conv2d:
    """Write a linear, shift-invariant function of clips as a convolution, by its answer to single bright pixels."""
    side = 2 * REACH + 1
    clip = torch.zeros(3, 3, 1, 4 * REACH + 1, 4 * REACH + 1)
    for color in range(3):
        clip[color, color, 0, 2 * REACH, 2 * REACH] = 1
    answers = linear(clip)[:, :, 0, REACH : REACH + side, REACH : REACH + side]  # [3, channels, side, side]
    return _convolution(answers.transpose(0, 1).flip(2, 3), torch.zeros(channels), padding=0)


def _convolution(weight: Tensor, bias: Tensor, padding: int | tuple[int, int] = 1) -> nn.Conv2d:
    outputs, inputs, rows, columns = weight.shape
    conv = nn.Conv2d(inputs, outputs, (rows, columns), padding=padding)
    conv.weight.data, _bias(conv).data = weight.detach().clone(), bias.detach().clone()
    return conv


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _scaled(conv: nn.Conv2d, factor: float) -> nn.Conv2d:
    return _convolution(conv.weight * factor, _bias(conv))


def _padded(hint: Tensor, row_step: int) -> Tensor:
    """Repeat the last row and column up to a size that the network takes."""
    rows, columns = (2 - hint.shape[-2]) % row_step, -hint.shape[-1] % row_step
    return F.pad(hint, (0, columns, 0, rows), mode="replicate") if rows or columns else hint


def _conv(modules: nn.Module) -> nn.Conv2d:
    """Take the one convolution out of a list that is there for the sake of the published names."""
    (module,) = modules.children()
    return cast(nn.Conv2d, module)


def _copied(module: Module) -> Module:
    return copy.deepcopy(module)
