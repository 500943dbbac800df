"""A stream of training samples that spares the CPU: each degraded clip is cut up many times.

Degrading a clip costs far more than cutting a crop, so a pool of degraded clips is held in memory, each
sample is a random crop of a random one of them, and a clip that has given its share is replaced by a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from starvsr.data.synthetic import SharpSource
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.recipe import DegradationRecipe, RecipeMix, degrade_clip, get_recipe
from starvsr.errors import OptionError


@dataclass
class _PooledClip:
    gt: np.ndarray  # uint8 [T, 4h, 4w, 3]
    lq: np.ndarray  # uint8 [T, h, w, 3]
    left: int


class DegradedPool(IterableDataset[dict[str, torch.Tensor]]):
    """Endless stream of (lq, gt) crops.

    The stream is fixed by (seed, first_clip, number of workers): clip k is made from generator (seed, k)
    whatever happens around it, worker w of n makes the clips k with k % n == w.

    Args:
        source: where sharp clips come from.
        recipe: how they are degraded: recipe, mix or preset name.
        num_frames: frames of a sample.
        lq_crop: side of the LQ crop.
        clip_frames: frames of a clip in the pool, at least `num_frames`.
        gt_size: side of a clip in the pool, a multiple of `scale`.
        pool_size: clips held in memory (clip_frames * gt_size**2 * 3.2 bytes each).
        crops_per_clip: samples cut from each clip before it is replaced.
        seed: seed of everything.
        first_clip: index of the first clip; a resumed run goes on with `clips_for(samples so far)`.
        scale: GT pixels per LQ pixel.

    Raises:
        OptionError: sizes that do not fit.
    """

    def __init__(
        self,
        source: SharpSource,
        recipe: DegradationRecipe | RecipeMix | str = "mixed",
        *,
        num_frames: int = 5,
        lq_crop: int = 48,
        clip_frames: int = 9,
        gt_size: int = 320,
        pool_size: int = 64,
        crops_per_clip: int = 16,
        seed: int = 0,
        first_clip: int = 0,
        scale: int = 4,
    ) -> None:
        if gt_size % scale or lq_crop * scale > gt_size or num_frames > clip_frames:
            raise OptionError(
                f"a sample of {num_frames} frames and {lq_crop * scale} px does not fit into clips of "
                f"{clip_frames} frames and {gt_size} px (a multiple of {scale})"
            )
        self.source, self.recipe = source, get_recipe(recipe)
        self.num_frames, self.lq_crop = num_frames, lq_crop
        self.clip_frames, self.gt_size, self.scale = clip_frames, gt_size, scale
        self.pool_size, self.crops_per_clip = pool_size, crops_per_clip
        self.seed, self.first_clip = seed, first_clip

    def clips_for(self, num_samples: int) -> int:
        """First clip index for a run that goes on after `num_samples` samples."""
        return self.first_clip + num_samples // self.crops_per_clip + self.pool_size

    def make_clip(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Make clip `index`: gt uint8 [T, H, W, 3] and lq uint8 [T, H/scale, W/scale, 3]."""
        rng = np.random.default_rng((self.seed, index))
        gt = self.source.draw(rng, self.clip_frames, self.gt_size)
        clip = torch.from_numpy(gt).permute(0, 3, 1, 2)
        return gt, to_bytes(degrade_clip(clip, self.recipe, rng, self.scale))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield samples: lq float32 [3, T, h, w] and gt float32 [3, T, scale*h, scale*w], in [-1, 1]."""
        info: Any = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        rng = np.random.default_rng((self.seed, self.first_clip, worker, 1))
        index = self.first_clip + worker
        pool: list[_PooledClip] = []
        while True:
            if len(pool) < self.pool_size:  # while filling up, each new clip gives one sample at once
                pool.append(_PooledClip(*self.make_clip(index), left=self.crops_per_clip))
                index += num_workers
            position = int(rng.integers(len(pool)))
            clip = pool[position]
            clip.left -= 1
            if clip.left == 0:
                pool[position] = pool[-1]
                pool.pop()
            yield self._sample(clip, rng)

    def _sample(self, clip: _PooledClip, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        start = int(rng.integers(len(clip.lq) - self.num_frames + 1))
        height, width = clip.lq.shape[1:3]
        top = int(rng.integers(height - self.lq_crop + 1))
        left = int(rng.integers(width - self.lq_crop + 1))
        turns = rng.random(4) < 0.5
        return {
            "lq": _crop(clip.lq, start, self.num_frames, top, left, self.lq_crop, turns),
            "gt": _crop(
                clip.gt,
                start,
                self.num_frames,
                top * self.scale,
                left * self.scale,
                self.lq_crop * self.scale,
                turns,
            ),
        }


def _crop(
    clip: np.ndarray, start: int, num_frames: int, top: int, left: int, side: int, turns: np.ndarray
) -> torch.Tensor:
    """Cut a crop, turn it (vertical flip, horizontal flip, transpose, time reversal), scale to [-1, 1]."""
    part = torch.from_numpy(clip[start : start + num_frames, top : top + side, left : left + side])
    axes = [axis for axis, turned in zip((1, 2, 0), (turns[0], turns[1], turns[3]), strict=True) if turned]
    part = part.flip(axes) if axes else part
    part = part.transpose(1, 2) if turns[2] else part
    return part.permute(3, 0, 1, 2).contiguous().float().div_(127.5).sub_(1.0)
