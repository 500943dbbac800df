"""The one step of star-small as it runs for users: the sums of ``StarSmall.one_step``, in less time and memory.

Four things make it cheap, none changes the result beyond rounding:

- What is fixed or linear is folded into weights once (folded.py): all up to the first skip and the second level
  becomes one convolution each (entrance.py), the time embedding goes into biases, the context into small layers, the
  decoder into the last layer, repetition into the kernels of the upsampling convolution.
- The finest level, whose maps are by far the largest, is done some rows or frames at a time; only the coarser levels
  are held for the whole clip. Between them lies one map of the finest level.
- Enlarged frames come out one after the other, and only those that are wanted.
- Everything goes in pieces of a size that stays in a core's cache, each on one thread (workers.py).

This works because star-small normalises each position on its own and has one residual block at its finest level.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from starvsr.models.codecs import Codec
from starvsr.models.inference import OwnedMaps
from starvsr.models.star.blocks import (
    Downsample,
    ResBlock,
    SpatialBlock,
    SpatialTransformer,
    TemporalBlock,
    TemporalTransformer,
    Upsample,
)
from starvsr.models.star.small.fused_layers import (
    CHUNK_PX,
    CHUNK_TOKENS,
    HALO,
    LAST,
    FixedAttention,
    FusedResBlock,
    FusedUpsample,
    SelfAttention,
    are_whole,
    bias_of,
    convolution,
    copied,
    even_parts,
    frame_parts,
    inside,
    new_maps,
    pieces_of,
    with_halo,
)
from starvsr.models.star.small.fused_stem import REACH, FusedStem
from starvsr.models.star.small.model import BRIGHTNESS_WINDOW, StarSmall
from starvsr.models.star.small.refinement import REACH as REFINEMENT_REACH
from starvsr.models.star.small.refinement import gate_of, held_of
from starvsr.models.workers import Piece, Workers, workers

_SPARE = 2
"""Frames of memory beside the finest level's map, for results that must not overwrite what is still read."""
_PIXELS_AHEAD = 4 * CHUNK_PX
"""Input pixels of enlarged frames that are made ahead of the one that is taken, one frame at least."""

Enlarge = Callable[[Tensor], Tensor]
"""Brings a clip [B, 3, T, h, w] to the codec's size, [B, 3, T, factor*h, factor*w]; linear, with replicated edges."""


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
        self.factor = codec.factor
        with torch.no_grad():
            squares = _unshuffle(codec.factor)
            self.enlarge = _as_convolution(lambda clip: squares(enlarge(clip)), 3 * codec.factor**2)
            own, low = _scaled(_conv(control.input_blocks[0]), 1 / alpha), control.input_hint_block
            self.stem = FusedStem(
                hint=_as_convolution(lambda clip: codec.encode(enlarge(clip)), codec.channels),
                first=_scaled(_conv(unet.input_blocks[0]), 1 / alpha),
                control_first=convolution(own.weight + low.weight, bias_of(own) + bias_of(low)),
                control_skip=copied(_conv(control.zero_convs[0])),
                down=copied(cast(Downsample, unet.input_blocks[1]).op),
                control_down=copied(cast(Downsample, control.input_blocks[1]).op),
                row_step=config.row_step,
            )
            context = network.context(1).detach()
            times = torch.tensor([timestep])
            embedding, control_embedding = (net.embed(times, torch.float32) for net in (unet, control))
            self.encoder = nn.ModuleList(_parts(block, embedding, context) for block in unet.input_blocks[2:])
            self.control_encoder = nn.ModuleList(
                _parts(block, control_embedding, context) for block in control.input_blocks[2:]
            )
            self.middle = _parts(unet.middle_block, embedding, context)
            self.control_middle = _parts(control.middle_block, control_embedding, context)
            self.control_outs = nn.ModuleList(
                copied(_conv(out)) for out in [*control.zero_convs[1:], control.middle_block_out]
            )
            *coarse, fine = (_parts(block, embedding, context) for block in unet.output_blocks)
            self.upsample = cast(FusedUpsample, coarse[-1].pop(-1))  # from the second level to the finest
            self.decoder, self.fine = nn.ModuleList(coarse), cast(FusedResBlock, fine[0])
            self.refinement = None if network.refinement is None else copied(network.refinement)
            self.head = nn.Sequential(copied(unet.out[0]), _pixel_head(cast(nn.Conv2d, unet.out[2]), codec, sigma))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
            elif isinstance(module, nn.Conv3d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        self.requires_grad_(False).eval()

    def to_network_type(self, dtype: torch.dtype) -> OneStep:
        """Convert all but what reads and makes pixels, which stays in float32; returns itself."""
        for module in self.children():
            if module is self.stem:
                self.stem.to_network_type(dtype)
            elif module is not self.enlarge:
                module.to(dtype)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """The type that the network computes in."""
        return next(self.head.parameters()).dtype

    @torch.inference_mode()
    def forward(self, lq: Tensor, keep: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the enlarged frames of a clip, float32 [3, factor*h, factor*w], about [-1, 1].

        Args:
            lq: low-quality clip [1, 3, T, h, w] float32 in [-1, 1], of any size.
            keep: which frames are wanted; the others serve as context.
        """
        frames = lq[0].transpose(0, 1)  # [T, 3, h, w]
        with workers(lq.device) as pool:
            spare = 0 if are_whole(*self.stem.full_size(frames)) else _SPARE
            skip, *lows = self.stem(pool, frames, spare)
            features = self._coarse(pool, lows)
            skip = self._last_block(pool, features, skip)
            del features
            start, stop, _ = keep.indices(len(frames))
            around = self.fine.temporal.reach
            self.fine.temporal(pool, skip[max(0, start - around) : stop + around])  # right where its frames are wanted
            height, width = frames.shape[-2:]
            ahead = max(1, _PIXELS_AHEAD // (height * width))
            pictures = (self._picture(frames[i], skip[i]) for i in range(start, stop))
            if self.refinement is not None:
                changes = pool.in_order((self._changes(frames[i], skip[i]) for i in range(start, stop)), ahead)
                pictures = (self._refined_picture(*one) for one in zip(frames[start:stop], changes, strict=True))
            yield from pool.in_order(pictures, ahead)

    def _coarse(self, pool: Workers, lows: list[Tensor]) -> Tensor:
        """Run all levels but the finest; the result is the second level's, before it rises. Empties ``lows``."""
        control, low = lows.pop(), lows.pop()
        skips, features = [low], low
        for part in self.encoder:
            features = _run(pool, part, features)
            skips.append(features)
        features = _run(pool, self.middle, features.clone())
        outs = iter(self.control_outs)  # the control is added to each map as it is made
        _add(pool, skips[0], next(outs), control)
        for skip, part in zip(skips[1:], self.control_encoder, strict=True):
            control = _run(pool, part, control)
            _add(pool, skip, next(outs), control)
        _add(pool, features, next(outs), _run(pool, self.control_middle, control))
        del control, skip
        for part in self.decoder:
            first, *rest = cast(nn.ModuleList, part)
            features = first(pool, features, skips.pop())
            for module in rest:
                features = _run(pool, module, features)
        return features

    def _last_block(self, pool: Workers, features: Tensor, skip: Tensor) -> Tensor:
        """Upsample to the finest level and run its residual block, into the memory of ``skip``.

        Where frames are cut into strips of rows, a result goes two frames before its input, so that no strip overwrites
        what its neighbours read while one later frame at most is under way.

        Args:
            pool: Computes the pieces.
            features: [T, C, h, w] of the second level.
            skip: [_SPARE + T, C, h', w'] of the finest level, the inputs last; [T, C, h', w'] where frames stay whole.

        Returns:
            [T, C, h', w'], the first frames of ``skip``.
        """
        count, rising = len(features), self.upsample.channels
        spare, (channels, height, width) = len(skip) - count, skip.shape[1:]

        def piece(frames: slice, rows: slice) -> None:
            around = with_halo(rows, HALO, height)
            source = skip[frames.start + spare : frames.stop + spare, :, around]
            joined = new_maps(skip, (len(source), rising + channels, *source.shape[2:]))
            self.upsample.rows(features[frames], joined[:, :rising], around)
            joined[:, rising:] = source
            skip[frames, :, rows] = self.fine.spatial(joined)[:, :, inside(rows, around)]

        cuts = pieces_of(count, height, width)
        if not spare:
            pool.run(partial(piece, *cut) for cut in cuts)
        else:
            by_frame = itertools.groupby(cuts, key=lambda cut: cut[0].start)
            frames = ((start, [partial(piece, *cut) for cut in own]) for start, own in by_frame)
            for _ in pool.in_order(frames, ahead=_SPARE - 1):
                pass
        return skip[:count]

    def _picture(self, frame: Tensor, features: Tensor) -> tuple[Tensor, list[Piece]]:
        """Return an enlarged frame, [3, factor*h, factor*w], and the pieces of work that fill it."""
        picture, size = self._new_picture(frame), frame.shape[-2:]

        def piece(rows: slice) -> None:
            self._write(picture, rows, self._plain(frame, rows) + self._change(features[None], rows, size))

        return picture.permute(2, 0, 1), [partial(piece, rows) for _, rows in pieces_of(1, *size)]

    def _changes(self, frame: Tensor, features: Tensor) -> tuple[Tensor, list[Piece]]:
        """Return what is added to an enlarged frame before its refinement, [1, C, h, w], and the pieces for it."""
        size = frame.shape[-2:]
        changes = torch.empty((1, 3 * self.factor**2, *size), device=frame.device)

        def piece(rows: slice) -> None:
            changes[:, :, rows] = self._change(features[None], rows, size)

        return changes, [partial(piece, rows) for _, rows in pieces_of(1, *size)]

    def _refined_picture(self, frame: Tensor, changes: Tensor) -> tuple[Tensor, list[Piece]]:
        """Return the same as :meth:`_picture`, from the changes of the frame's squares."""
        assert self.refinement is not None
        refinement, picture, (height, width) = self.refinement, self._new_picture(frame), frame.shape[-2:]
        gate, (share, limits) = gate_of(frame[None]), held_of(frame[None])

        def piece(rows: slice) -> None:
            seen = with_halo(rows, REFINEMENT_REACH, height)
            plain = self._plain(frame, seen)
            held = (share[:, :, seen], limits[:, :, seen])
            made = refinement.squares(changes[:, :, seen], plain, gate[:, :, seen], held)
            self._write(picture, rows, made[:, :, inside(rows, seen)])

        return picture.permute(2, 0, 1), [partial(piece, rows) for _, rows in pieces_of(1, height, width)]

    def _new_picture(self, frame: Tensor) -> Tensor:
        """Make room for an enlarged frame as it lies in memory: [factor*h, factor*w, 3]."""
        height, width = frame.shape[-2:]
        return torch.empty((height * self.factor, width * self.factor, 3), device=frame.device)

    def _change(self, features: Tensor, rows: slice, size: Sequence[int]) -> Tensor:
        """Return what is added to some rows of an enlarged frame, pixels of a square as channels.

        Args:
            features: the finest level's, [1, C, h', w'].
            rows: which of the h rows.
            size: h and w.
        """
        height, width = size
        window, columns = (min(BRIGHTNESS_WINDOW, side - 1 + side % 2) for side in size)
        seen = with_halo(rows, window // 2, height)
        read = with_halo(seen, 1, features.shape[2])  # the head is a 3x3 convolution
        change: Tensor = self.head(features[:, :, read])[:, :, inside(seen, read), :width].float()
        means = change.unflatten(1, (-1, 3)).mean(1)
        average = F.avg_pool2d(means, (window, columns), 1, (window // 2, columns // 2), count_include_pad=False)
        own = inside(rows, seen)
        return (change[:, :, own].unflatten(1, (-1, 3)) - average[:, None, :, own]).flatten(1, 2)

    def _plain(self, frame: Tensor, rows: slice) -> Tensor:
        """Enlarge some rows of a frame [3, h, w], pixels of a square as channels."""
        padded = F.pad(frame[None], (REACH,) * 4, mode="replicate")[:, :, rows.start : rows.stop + 2 * REACH]
        squares: Tensor = self.enlarge(padded.contiguous(memory_format=LAST))
        return squares

    def _write(self, picture: Tensor, rows: slice, squares: Tensor) -> None:
        """Put rows of squares [1, C, h, w] where they belong in a picture."""
        target = picture[rows.start * self.factor : rows.stop * self.factor]
        target.unflatten(0, (-1, self.factor)).unflatten(2, (-1, self.factor)).copy_(
            rearrange(squares[0], "(y x c) h w -> h y w x c", y=self.factor, x=self.factor)
        )


def _run(pool: Workers, part: nn.Module, features: Tensor) -> Tensor:
    """Run a list of folded modules on all frames [T, C, h, w] of a clip; ``features`` may be overwritten."""
    if isinstance(part, nn.ModuleList):
        for module in part:
            features = _run(pool, module, features)
        return features
    if isinstance(part, SpatialTransformer):  # frames are apart
        pieces = [features[frames] for frames in frame_parts(features, CHUNK_TOKENS)]
        pool.run(partial(part, OwnedMaps(frames), frames[:1]) for frames in pieces)  # its context is folded in
        return features
    if isinstance(part, TemporalTransformer):  # pixels are apart
        cuts = even_parts(features.shape[2], CHUNK_TOKENS // (len(features) * features.shape[-1]))
        pool.run(partial(part, OwnedMaps(features[:, :, rows]), len(features)) for rows in cuts)
        return features
    if isinstance(part, Downsample):
        count, channels, height, width = features.shape
        out = new_maps(features, (count, channels, (height + 1) // 2 + 1, (width + 1) // 2))
        pool.run(partial(_fill, out[cut], features[cut], part) for cut in frame_parts(features, CHUNK_PX))
        return out
    result: Tensor = part(pool, features)
    return result


def _fill(out: Tensor, features: Tensor, layer: nn.Module) -> None:
    out.copy_(layer(features))


def _add(pool: Workers, out: Tensor, layer: nn.Module, features: Tensor) -> None:
    """Add what a layer makes of maps to others of the same size."""
    cuts = frame_parts(features, CHUNK_PX)
    pool.run(partial(lambda to, of: to.add_(layer(of)), out[cut], features[cut]) for cut in cuts)


def _parts(block: nn.Module, embedding: Tensor, context: Tensor) -> nn.ModuleList:
    """Fold each module of a block; a lone module counts as a block of one."""
    modules = block if isinstance(block, nn.ModuleList) else [block]
    return nn.ModuleList(_part(module, embedding, context) for module in modules)


def _part(block: nn.Module, embedding: Tensor, context: Tensor) -> nn.Module:
    if isinstance(block, ResBlock):
        return FusedResBlock(block, embedding)
    if isinstance(block, Upsample):
        return FusedUpsample(block)
    assert isinstance(block, Downsample | SpatialTransformer | TemporalTransformer)
    result = copied(block)
    for owner in [module for module in result.modules() if isinstance(module, SpatialBlock | TemporalBlock)]:
        owner.add_module("attn1", SelfAttention(owner.attn1))
        fixed = isinstance(owner, SpatialBlock)
        owner.add_module("attn2", FixedAttention(owner.attn2, context) if fixed else SelfAttention(owner.attn2))
    return result


def _pixel_head(head: nn.Conv2d, codec: Codec, sigma: float) -> nn.Module:
    """Fold decoder and -sigma into the last convolution: it gives the change of each square's pixels."""
    unit = torch.eye(codec.channels)[:, :, None, None, None]  # one latent channel each
    pixels = _unshuffle(codec.factor)(codec.decode(unit))[:, :, 0, 0, 0]  # [latent, pixel]
    weight = torch.einsum("lp,lihw->pihw", pixels, head.weight) * -sigma
    return nn.Sequential(nn.SiLU(inplace=True), convolution(weight, (bias_of(head) @ pixels) * -sigma))


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
    return convolution(answers.transpose(0, 1).flip(2, 3), torch.zeros(channels), padding=0)


def _scaled(conv: nn.Conv2d, factor: float) -> nn.Conv2d:
    return convolution(conv.weight * factor, bias_of(conv))


def _conv(modules: nn.Module) -> nn.Conv2d:
    """Take the one convolution out of a list that is there for the sake of the published names."""
    (module,) = modules.children()
    return cast(nn.Conv2d, module)
