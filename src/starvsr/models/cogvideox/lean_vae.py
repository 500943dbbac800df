"""Encoder and decoder of the VAE in little memory: the sums of diffusers' layers, a few frames at a time.

A clip is a list of frames. Group norms take the statistics of the whole list first; convolutions then read normalized
frames in order and keep the two before, so that no normalized map of the whole clip exists, and what a block adds is
added in place. At 25x480x720 in bfloat16 that needs a third of the memory. No gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.chunking import cuts
from starvsr.models.row_chunks import frozen_norm, statistics

MAX_ELEMENTS = 1
"""Elements of a map that are normalized and convolved at once, but one frame at least: frames go one by one, so that
memory grows with the number of cells alone."""
_STATISTICS = 1 << 24
"""Elements that statistics are taken of at once, in float32."""

Frames = list[Tensor]
"""A clip [C, T, H, W] as T maps [1, C, H, W]; functions that return frames empty the list that they are given."""
Carried = dict[nn.Module, Tensor]
"""The last two frames that each convolution has read, [1, C, 2, H, W], for the piece of the clip that comes next."""
_Prepare = Callable[[int, Tensor], Tensor]
"""What is done to a frame, given its index, before it is convolved; makes a new map."""


def encode(encoder: Any, clip: Tensor, max_elements: int = MAX_ELEMENTS, *, carried: Carried | None = None) -> Tensor:
    """Return what diffusers' encoder makes of a clip [1, 3, T, H, W] in one pass: [1, 2 * 16, t, h, w].

    Args:
        encoder: CogVideoXEncoder3D.
        clip: 4k + 1 frames, or 4k that follow the piece before.
        max_elements: See `MAX_ELEMENTS`.
        carried: Of the piece before; empty for the first one. It is brought up to date. None keeps nothing.
    """
    frames = _convolved(encoder.conv_in, list(clip.unbind(2)), _as_is, carried, max_elements)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            _add_resnet(resnet, frames, None, carried, max_elements)
        for downsampler in block.downsamplers or ():
            frames = _downsampled(downsampler, frames)
    for resnet in encoder.mid_block.resnets:
        _add_resnet(resnet, frames, None, carried, max_elements)
    last = _normalized(encoder.norm_out, frames, None)
    return torch.stack(_convolved(encoder.conv_out, frames, last, carried, max_elements), 2)


def decode_piece(decoder: Any, latents: Tensor, carried: Carried, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """Return what diffusers' decoder makes of a piece of latents [1, 16, t, h, w]: [1, 3, T, H, W].

    Args:
        decoder: CogVideoXDecoder3D.
        latents: The piece.
        carried: Of the piece before; empty for the first one. It is brought up to date.
        max_elements: See `MAX_ELEMENTS`.
    """
    frames = _convolved(decoder.conv_in, list(latents.unbind(2)), _as_is, carried, max_elements)
    for resnet in decoder.mid_block.resnets:
        _add_resnet(resnet, frames, latents, carried, max_elements)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            _add_resnet(resnet, frames, latents, carried, max_elements)
        for upsampler in block.upsamplers or ():
            frames = _upsampled(upsampler, frames)
    last = _normalized(decoder.norm_out, frames, latents)
    return torch.stack(_convolved(decoder.conv_out, frames, last, carried, max_elements), 2)


def _add_resnet(
    resnet: Any, frames: Frames, latents: Tensor | None, carried: Carried | None, max_elements: int
) -> None:
    """Replace each frame by what a resnet block makes of it."""
    inner: Frames = []
    first = _normalized(resnet.norm1, frames, latents)
    for _, made in _causal(resnet.conv1, frames, first, carried, max_elements):
        inner += made.unbind(2)
    if resnet.in_channels != resnet.out_channels:
        for index, frame in enumerate(frames):
            frames[index] = resnet.conv_shortcut(frame[:, :, None])[:, :, 0]
    second = _normalized(resnet.norm2, inner, latents)
    for start, made in _causal(resnet.conv2, inner, second, carried, max_elements, is_last_use=True):
        for index, change in enumerate(made.unbind(2), start):
            frames[index] += change


def _convolved(conv: Any, frames: Frames, prepare: _Prepare, carried: Carried | None, max_elements: int) -> Frames:
    """Return the frames behind a causal convolution."""
    out: Frames = []
    for _, made in _causal(conv, frames, prepare, carried, max_elements, is_last_use=True):
        out += made.unbind(2)
    return out


def _causal(
    conv: Any,
    frames: Frames,
    prepare: _Prepare,
    carried: Carried | None,
    max_elements: int,
    *,
    is_last_use: bool = False,
) -> Iterator[tuple[int, Tensor]]:
    """Yield what a causal convolution makes of prepared frames, with the index of the first: [1, C, n, H, W].

    Args:
        conv: CogVideoXCausalConv3d with a kernel of three frames.
        frames: What it reads.
        prepare: See `_Prepare`.
        carried: See `Carried`; without an entry the first frame stands for the two before it. None keeps nothing.
        max_elements: See `MAX_ELEMENTS`.
        is_last_use: Forget frames that have been read.
    """
    kernel = conv.conv.weight
    each = max(kernel.shape[:2]) * frames[0][0, 0].numel()
    before = None if carried is None else carried.get(conv)
    for piece in cuts(len(frames), each, max_elements):
        block = torch.stack([prepare(index, frames[index]) for index in range(piece.start, piece.stop)], 2)
        if is_last_use:
            frames[piece] = [frames[-1][:, :, :0]] * (piece.stop - piece.start)
        if before is None:
            before = block[:, :, :1].expand(-1, -1, kernel.shape[2] - 1, -1, -1)
        block = torch.cat([before, block], 2)
        before = block[:, :, 1 - kernel.shape[2] :].clone()
        made = conv.conv(block)
        del block
        yield piece.start, made
    if carried is not None and before is not None:
        carried[conv] = before


def _as_is(_: int, frame: Tensor) -> Tensor:
    return frame


def _normalized(norm: Any, frames: Frames, latents: Tensor | None) -> _Prepare:
    """Return norm and SiLU of frames, with the statistics of all of them.

    Args:
        norm: GroupNorm, or CogVideoXSpatialNorm3D with latents.
        frames: All frames that the norm sees.
        latents: What the norm of a decoder is conditioned on, [1, 16, t, h, w].
    """
    plain = norm if latents is None else norm.norm_layer
    normed = frozen_norm(plain, *statistics(frames, plain.num_groups, _STATISTICS))
    if latents is None:
        return lambda _, frame: F.silu(normed(frame), inplace=True)
    # both convolutions see one position only, so they can come before the enlargement
    factor, shift = norm.conv_y.conv(latents), norm.conv_b.conv(latents)
    places = _latent_frames(len(frames), latents.shape[2])

    def prepare(index: int, frame: Tensor) -> Tensor:
        at, size = places[index], frame.shape[-2:]
        out = normed(frame).mul_(F.interpolate(factor[:, :, at], size=size))
        return F.silu(out.add_(F.interpolate(shift[:, :, at], size=size)), inplace=True)

    return prepare


def _latent_frames(count: int, latent_count: int) -> list[int]:
    """Return the latent frame that each of ``count`` frames is conditioned on; an odd clip's first has its own."""
    if count > 1 and count % 2 == 1:
        return [0, *(1 + index for index in _latent_frames(count - 1, latent_count - 1))]
    return [index * latent_count // count for index in range(count)]


def _downsampled(layer: Any, frames: Frames) -> Frames:
    """Return frames at half the size, and half as many where the layer compresses the time."""
    out: Frames = []
    while frames:
        frame = frames.pop(0)
        if layer.compress_time and len(frames) % 2 == 1:  # it and the next one; an odd clip's first stays alone
            frame = (frame + frames.pop(0)) * 0.5
        out.append(layer.conv(F.pad(frame, (0, 1, 0, 1))))
    return out


def _upsampled(layer: Any, frames: Frames) -> Frames:
    """Return frames at twice the size, and twice as many where the layer stretches the time."""
    is_odd, count = len(frames) % 2 == 1, len(frames)
    out: Frames = []
    while frames:
        is_first = len(frames) == count
        made = layer.conv(F.interpolate(frames.pop(0), scale_factor=2.0))
        out.append(made)
        if layer.compress_time and not (is_odd and is_first):
            out.append(made.clone())
    return out
