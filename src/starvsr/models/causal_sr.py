"""CausalSR: a plain convolutional video super-resolution network that only looks back, and only a few frames.

Everything costly runs at half the input's resolution (pixel unshuffle by two), as 3x3 convolutions with ReLU. Time
enters through a causal channel shift: a block sees some channels of the frame before. Each shift reaches one frame
further back, so a result depends on ``memory`` earlier frames and on nothing before: a clip that is restarted
``memory`` frames early gives the same values.

At the first frame of a scene each block sees its own channels in place of the earlier ones. A still clip therefore
gives the same picture at every frame, the first included.

Luma and chroma have separate outputs. The correction of chroma is scaled by the chroma that the input has nearby:
where that is zero, the result is gray.

A context may be added: a branch at an eighth of the input's resolution, cheap and with a wide view, from which the
trunk's features get a factor and a summand each. What restores a blurred film must not be done to a clean one, and a
few neighbouring pixels do not tell the two apart.

Source: temporal shift module (arXiv 1811.08383); sub-pixel convolution (arXiv 1609.05158) with an initialisation that
agrees between sub-pixels (arXiv 1707.02937); pixel unshuffle in front as in Real-ESRGAN (arXiv 2107.10833); factors
and summands for features (FiLM, arXiv 1709.07871).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.causal_sr_config import CONTEXT_SCALE, CausalSRConfig
from starvsr.models.causal_sr_picture import CHROMA_SCALE, CONTEXT_PX, LUMA_CHANNELS, SCALE, composed
from starvsr.models.luma_chroma import to_ycc

__all__ = ["SCALE", "CausalSR", "CausalSRConfig", "State"]

UNSHUFFLE = 2
LEAST_STRIP_ROWS = 48
"""Rows of features in a strip, at least: the context of a strip is computed twice."""
_STRIP_CONTEXT = CONTEXT_PX // UNSHUFFLE
"""Rows of features around a strip; the head looks at 5 input pixels, the picture at 6."""
State = tuple[Tensor, ...]
"""Shifted channels of the previous frame, one [B, k, h/2, w/2] for each block that looks back."""


class CausalSR(nn.Module):
    """Upscales clips by four, frame after frame, with a memory of a few frames.

    Attributes:
        strip_px: Input pixels for which the head works at once, so that what is four and sixteen times as large is in
            memory in part only. None: the whole frame, as in training and export.
    """

    strip_px: int | None = None

    def __init__(self, config: CausalSRConfig | None = None) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config = config or CausalSRConfig()
        width, thin = config.width, config.thin_width
        self.first = nn.Conv2d(3 * UNSHUFFLE**2, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(config.num_blocks))
        self.context = _Context(config) if config.context_width else None
        up_pixels, fine_pixels = (1, 1) if config.shared_head else (UNSHUFFLE**2, CHROMA_SCALE**2)
        self.up = nn.Conv2d(width, config.up_width * up_pixels, 3, padding=1)
        self.fine = nn.Conv2d(config.up_width, thin * fine_pixels, 3, padding=1)
        self.thin = _Block(thin) if config.thin_block else None
        self.last = nn.Conv2d(thin, LUMA_CHANNELS + 2, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="linear")
        for block in self.blocks:
            nn.init.kaiming_normal_(block.first.weight, nonlinearity="relu")  # type: ignore[union-attr, arg-type]
            nn.init.kaiming_normal_(block.second.weight, nonlinearity="relu")  # type: ignore[union-attr, arg-type]
            with torch.no_grad():
                block.second.weight.mul_(0.2)  # type: ignore[union-attr, operator]
        shared = self.config.shared_head
        _agreeing(self.up.weight, 1 if shared else UNSHUFFLE)
        _agreeing(self.fine.weight, 1 if shared else CHROMA_SCALE)
        _agreeing(self.last.weight[:LUMA_CHANNELS], SCALE // CHROMA_SCALE, gain=0.05)
        _agreeing(self.last.weight[LUMA_CHANNELS:], 1, gain=0.05)
        for branch in (self.thin and self.thin.second, self.context and self.context.up):
            if branch:
                nn.init.zeros_(branch.weight)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, clip: Tensor, state: State | None = None) -> Tensor:
        """Upscale a clip.

        Args:
            clip: [B, 3, T, h, w] RGB in [-1, 1], any height and width.
            state: what :meth:`step` returned for the frame before; None begins a scene.

        Returns:
            [B, 3, T, 4h, 4w] RGB, not clamped.
        """
        return self._run(clip, state)[0]

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Upscale the next frame of a stream.

        Args:
            frame: [B, 3, h, w] RGB in [-1, 1].
            state: what was returned for the frame before; None begins a scene.

        Returns:
            [B, 3, 4h, 4w] RGB, not clamped, and the state for the next frame.
        """
        result, state = self._run(frame[:, :, None], state)
        return result[:, :, 0], state

    def advance(self, frame: Tensor, state: State | None = None) -> State:
        """Return the state after a frame [B, 3, h, w] whose result is not needed: :meth:`step` without its head."""
        return self._features(frame[:, :, None], state)[2]

    def _run(self, clip: Tensor, state: State | None) -> tuple[Tensor, State]:
        num_clips, num_frames = clip.shape[0], clip.shape[2]
        ycc, features, new_state = self._features(clip, state)
        rgb = self._picture(ycc, features).unflatten(0, (num_clips, num_frames)).transpose(1, 2)
        return rgb.to(clip.dtype), new_state

    def _picture(self, ycc: Tensor, features: Tensor) -> Tensor:
        """Return RGB [N, 3, 4h, 4w] from luma and chroma of the input and the trunk's features, strip by strip."""
        (height, width), (rows, columns) = ycc.shape[-2:], features.shape[-2:]
        if self.strip_px is None:
            return composed(ycc, self._head(features)[..., : CHROMA_SCALE * height, : CHROMA_SCALE * width])
        most = max(LEAST_STRIP_ROWS, self.strip_px // (UNSHUFFLE**2 * columns))
        length = -(-rows // -(-rows // most))  # all alike
        rgb = ycc.new_empty(len(ycc), 3, SCALE * height, SCALE * width)
        for start in range(0, rows, length):
            stop = min(start + length, rows)
            seen = slice(max(start - _STRIP_CONTEXT, 0), min(stop + _STRIP_CONTEXT, rows))
            top, bottom = UNSHUFFLE * seen.start, min(UNSHUFFLE * seen.stop, height)
            correction = self._head(features[..., seen, :])
            correction = correction[..., : CHROMA_SCALE * (bottom - top), : CHROMA_SCALE * width]
            made = composed(ycc[..., top:bottom, :], correction)
            first, last = SCALE * UNSHUFFLE * start, SCALE * min(UNSHUFFLE * stop, height)
            rgb[..., first:last, :] = made[..., first - SCALE * top : last - SCALE * top, :]
        return rgb

    def _features(self, clip: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        """Return luma and chroma of all frames [B*T, 3, h, w], what the trunk makes of them, and the state."""
        height, width = clip.shape[-2:]
        ycc = to_ycc(clip.transpose(1, 2).flatten(0, 1).float())
        padded = F.pad(ycc, (0, width % UNSHUFFLE, 0, height % UNSHUFFLE), mode="replicate")
        features, new_state = self._trunk(padded.to(self.first.weight.dtype), len(clip), state)
        return ycc, features, new_state

    def _trunk(self, frames: Tensor, num_clips: int, state: State | None) -> tuple[Tensor, State]:
        x = F.pixel_unshuffle(frames, UNSHUFFLE).contiguous(memory_format=torch.channels_last)
        x = self.first(x)
        new_state = []
        for index, block in enumerate(self.blocks):
            if self.context is not None and index == self.config.context_after:
                x = self.context(x)
            if index < self.config.memory:
                shifted, last = self._shift(x, num_clips, None if state is None else state[index])
                new_state.append(last)
            else:
                shifted = x
            x = block(shifted).add_(x)
        return x, tuple(new_state)

    def _shift(self, x: Tensor, num_clips: int, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Replace the first channels [B*T, k, ...] by those of the frame before; also return the last frame's."""
        count = self.config.shifted_channels
        last = x[:, :count].unflatten(0, (num_clips, -1))[:, -1].clone()
        if before is None and x.requires_grad:
            shifted: Tensor = _ShiftWithGradient.apply(x, num_clips, count)
            return shifted, last
        return _shifted(x, num_clips, count, before), last

    def _head(self, features: Tensor) -> Tensor:
        """Return what is added at twice the input's size: luma of four sub-pixels, then chroma, [B*T, 6, 2h, 2w]."""
        if self.config.shared_head:
            x = F.relu_(self.up(_enlarged(features, UNSHUFFLE)))
            x = F.relu_(self.fine(_enlarged(x, CHROMA_SCALE)))
        else:
            x = F.relu_(F.pixel_shuffle(self.up(features), UNSHUFFLE))
            x = F.relu_(F.pixel_shuffle(self.fine(x), CHROMA_SCALE))
        if self.thin is not None:
            x = self.thin(x).add_(x)
        correction: Tensor = self.last(x)
        return correction


class _Block(nn.Module):
    """Two convolutions; the sum with the input is the caller's."""

    def __init__(self, width: int, padding_mode: Literal["zeros", "replicate"] = "zeros") -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding_mode)
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu_(self.first(x)))
        return out


class _Context(nn.Module):
    """Tells the trunk what is around: a factor and a summand for each feature, from a coarse and wide view of all.

    Borders are repeated, not filled with zeros: a crop of a few positions is nothing but borders in training.
    """

    def __init__(self, config: CausalSRConfig) -> None:
        super().__init__()
        width = config.context_width
        self.down = nn.Conv2d(config.width, width, CONTEXT_SCALE, stride=CONTEXT_SCALE)
        self.blocks = nn.ModuleList(_Block(width, "replicate") for _ in range(config.context_blocks))
        self.up = nn.Conv2d(width, 2 * config.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the trunk goes on with, of the shape of ``x`` [N, width, h/2, w/2]."""
        height, width = x.shape[-2:]
        around = F.pad(x, (0, -width % CONTEXT_SCALE, 0, -height % CONTEXT_SCALE), mode="replicate")
        around = F.relu_(self.down(around))
        for block in self.blocks:
            around = block(around).add_(around)
        told = F.interpolate(self.up(around), scale_factor=CONTEXT_SCALE, mode="bilinear", align_corners=False)
        factor, summand = told[..., :height, :width].chunk(2, dim=1)
        return x.addcmul(x, factor).add_(summand)


def _shifted(x: Tensor, num_clips: int, count: int, before: Tensor | None) -> Tensor:
    own = x[:, :count].unflatten(0, (num_clips, -1))
    shifted = x.clone()  # and its first channels written anew: half the time of joining two slices
    earlier = shifted[:, :count].unflatten(0, (num_clips, -1))
    earlier[:, :1] = own[:, :1] if before is None else before[:, None]
    earlier[:, 1:] = own[:, :-1]
    return shifted


class _ShiftWithGradient(torch.autograd.Function):
    """The shift at the beginning of a scene; its gradient keeps the layout, which that of slices does not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_clips: int, count: int) -> Tensor:
        ctx.num_clips, ctx.count = num_clips, count
        return _shifted(x, num_clips, count, None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        made = grad.clone()
        given = grad[:, : ctx.count].unflatten(0, (ctx.num_clips, -1))
        own = made[:, : ctx.count].unflatten(0, (ctx.num_clips, -1))
        own[:, :-1] = given[:, 1:]
        own[:, -1:] = 0
        own[:, :1] += given[:, :1]
        return made, None, None


@torch.no_grad()
def _agreeing(weight: Tensor, factor: int, gain: float = 1.0) -> None:
    """Draw weights that are equal for the sub-pixels of a pixel shuffle, so that nothing of its grid shows."""
    drawn = torch.empty_like(weight[:: factor**2])
    nn.init.kaiming_normal_(drawn, nonlinearity="relu")
    weight.copy_(drawn.mul_(gain).repeat_interleave(factor**2, dim=0))


def _enlarged(features: Tensor, factor: int) -> Tensor:
    """Repeat each position of [N, C, h, w] along rows and columns."""
    return F.interpolate(features, scale_factor=factor, mode="nearest")
