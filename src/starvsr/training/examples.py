"""What the imitation term shows a network: one frame of each clip as a mix of two other networks' results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from starvsr.data.clips import Clip
from starvsr.imaging.sharpening import sharpen_frame
from starvsr.models.vgg16 import Vgg16
from starvsr.training.model import TrainingModel
from starvsr.training.perceptual import nearest, vgg_features


@dataclass(frozen=True)
class Examples:
    """Adds to a clip what is to be imitated of its middle frame.

    Computed once for a clip, so that a network that costs a hundred times as much as the trained one can be the
    example. Of several mixes it is the one that is nearest to the ground truth in VGG16 features.

    Args:
        model: what trains; tells how a network of its kind is applied.
        teacher: of the model's kind, frozen.
        example: enlarges [B, 3, T, h, w] in [-1, 1] frame by frame, see
            :class:`~starvsr.training.example_network.ExampleNetwork`.
        features: the VGG16 trunk.
        shares: of the example's result in the mixes, the rest is the teacher's.
        sharpen: strength of :func:`~starvsr.imaging.sharpening.sharpen_frame` for the teacher's result.
    """

    model: TrainingModel
    teacher: nn.Module
    example: nn.Module
    features: Vgg16
    shares: Sequence[float]
    sharpen: float = 0.0

    @torch.no_grad()
    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with its example."""
        device = self.features.mean.device
        frame = len(clip["lq"]) // 2
        lq = _pixels(clip["lq"]).to(device)
        ours = self.model.upscale(lq, network=self.teacher)[:, :, frame : frame + 1].clamp(-1, 1)
        if self.sharpen:
            ours = _sharpened(ours, self.sharpen, self.model.scale)
        theirs = self.example(lq[:, :, frame : frame + 1])
        mixes = [torch.lerp(ours, theirs, share) for share in self.shares]
        chosen = mixes[0] if len(mixes) == 1 else self._nearest(mixes, _pixels(clip["gt"][frame : frame + 1]))
        made = chosen[0, :, 0].permute(1, 2, 0).add(1).mul(127.5).round().clamp(0, 255).byte().cpu()
        return cast(Clip, {**clip, "example": made, "example_frame": frame})

    def _nearest(self, mixes: Sequence[Tensor], truth: Tensor) -> Tensor:
        autocast = self.model.autocast
        wanted = vgg_features(self.features, truth.to(mixes[0].device), autocast=autocast)
        return mixes[nearest([vgg_features(self.features, mix, autocast=autocast) for mix in mixes], wanted)]


def _sharpened(frame: Tensor, strength: float, scale: int) -> Tensor:
    """Sharpen one frame [1, 3, 1, H, W] in [-1, 1]."""
    codes = frame[0, :, 0].permute(1, 2, 0).add(1).mul(32767.5).round().cpu().numpy().astype(np.uint16)
    made = torch.from_numpy(sharpen_frame(codes, strength, scale).astype(np.float32))
    return made.div(32767.5).sub(1).permute(2, 0, 1)[None, :, None].to(frame.device)


def _pixels(frames: Tensor) -> Tensor:
    """Bytes [T, h, w, 3] as float32 [1, 3, T, h, w] in [-1, 1]."""
    return frames.permute(3, 0, 1, 2)[None].float().div(127.5).sub(1)
