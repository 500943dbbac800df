"""Clips to cut samples from, by number: clip k is the same whoever asks for it, when, and in which process.

Two sources with one interface: sharp clips degraded on the fly, and pairs stored on disk. Nothing here crops samples
or decides in which order clips are used (:mod:`starvsr.data.pool` does).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

import numpy as np
import torch

from starvsr.data.defocus import defocus
from starvsr.data.paired import PairPaths, find_pairs
from starvsr.data.synthetic import DRAWING, FrameCache, SharpSource
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.presets import get_recipe
from starvsr.degradation.ranges import DegradationRecipe, RecipeMix
from starvsr.degradation.recipe import degrade_clip
from starvsr.errors import DataError, OptionError


class Clip(TypedDict):
    """One clip: gt uint8 [T, scale*h, scale*w, 3], lq uint8 [T, h, w, 3], its caption ("" for none) and its name."""

    gt: torch.Tensor
    lq: torch.Tensor
    caption: str
    name: str
    example: NotRequired[torch.Tensor]
    """uint8 [scale*h, scale*w, 3]: another result of one of its frames, to be imitated."""
    example_frame: NotRequired[int]
    """Which frame that is."""


class ClipSource(Protocol):
    """What a stream of samples needs of its clips."""

    clip_frames: int
    gt_size: int
    scale: int

    def make(self, index: int) -> Clip:
        """Make clip ``index`` (0, 1, ... without end), at least ``clip_frames`` long and ``gt_size`` large."""

    def captions(self) -> dict[str, str]:
        """Return the caption ("" for none) of each clip by the name of its file, in order."""


class DegradedClips:
    """Sharp clips, degraded on the fly: clip k is drawn from a generator of (seed, k) and nothing else.

    Args:
        source: where sharp clips come from.
        recipe: how they are degraded: recipe, mix or preset name.
        clip_frames: frames of a clip.
        gt_size: side of a clip, a multiple of ``scale``.
        seed: seed of everything.
        scale: GT pixels per LQ pixel.
        gray_probability: share of clips that are turned gray first.
        defocus_probability: share of clips of which part is put out of focus first.

    Raises:
        OptionError: sizes that do not fit, or an unknown preset.
    """

    def __init__(
        self,
        source: SharpSource,
        recipe: DegradationRecipe | RecipeMix | str = "mixed",
        *,
        clip_frames: int = 9,
        gt_size: int = 320,
        seed: int = 0,
        scale: int = 4,
        gray_probability: float = 0.0,
        defocus_probability: float = 0.0,
    ) -> None:
        if gt_size % scale:
            raise OptionError(f"gt_size must be a multiple of {scale}, not {gt_size}")
        self.gray_probability, self.defocus_probability = gray_probability, defocus_probability
        self.source, self.recipe = source, get_recipe(recipe)
        self.clip_frames, self.gt_size, self.scale, self.seed = clip_frames, gt_size, scale, seed

    def make(self, index: int) -> Clip:
        """Draw and degrade clip ``index``."""
        rng = np.random.default_rng((self.seed, index))
        gt, path = self.source.draw_named(rng, self.clip_frames, self.gt_size)
        if self.gray_probability and rng.random() < self.gray_probability:
            gt = gray(gt)
        if self.defocus_probability and rng.random() < self.defocus_probability:
            gt = defocus(gt, rng)
        sharp = torch.from_numpy(gt)
        lq = torch.from_numpy(to_bytes(degrade_clip(sharp.permute(0, 3, 1, 2), self.recipe, rng, self.scale)))
        return Clip(gt=sharp, lq=lq, caption=self.source.caption(path), name=f"{index} ({path.name})")

    def captions(self) -> dict[str, str]:
        """Return the captions of all videos and photos, and of drawings where there are any."""
        drawings = [DRAWING] if self.source.drawn_probability else []
        return {path.name: self.source.caption(path) for path in (*self.source.videos, *self.source.images, *drawings)}


def gray(frames: np.ndarray) -> np.ndarray:
    """Return the BT.601 luma of uint8 [T, H, W, 3] in all three channels."""
    luma = (frames @ np.array([0.299, 0.587, 0.114], np.float32)).round().astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def _without(pairs: list[PairPaths], names: Collection[str]) -> list[PairPaths]:
    """Leave out the pairs of some names."""
    unknown = sorted(set(names) - {pair.gt.stem for pair in pairs})
    if unknown:
        raise DataError(f"there is no pair {unknown[0]} to leave out: check data.leave_out and the folder of pairs")
    kept = [pair for pair in pairs if pair.gt.stem not in names]
    if not kept:
        raise DataError("data.leave_out leaves no pair to train on")
    return kept


class StoredPairs:
    """Windows out of pairs on disk: each pass visits every pair once, in an order of its own.

    Args:
        folder: paired folders or a REDS folder, see :func:`starvsr.data.paired.find_pairs`.
        cache: decoded clips are kept there.
        clip_frames: frames of a window.
        gt_size: side of a window in GT pixels, a multiple of ``scale``.
        seed: seed of order and windows.
        scale: GT pixels per LQ pixel.
        leave_out: names of pairs that are passed over; each must be there.

    Raises:
        DataError: no pairs, none left, a clip without its partner, or no pair of a name that is to be left out.
        OptionError: ``gt_size`` does not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        cache: str | Path,
        *,
        clip_frames: int = 9,
        gt_size: int = 320,
        seed: int = 0,
        scale: int = 4,
        leave_out: Collection[str] = (),
    ) -> None:
        if gt_size % scale:
            raise OptionError(f"gt_size must be a multiple of {scale}, not {gt_size}")
        self.pairs = _without(find_pairs(folder), leave_out)
        self.gt_cache, self.lq_cache = (FrameCache(Path(cache) / part) for part in ("gt", "lq"))
        self.clip_frames, self.gt_size, self.scale, self.seed = clip_frames, gt_size, scale, seed

    def make(self, index: int) -> Clip:
        """Cut window ``index`` out of the pair whose turn it is.

        Raises:
            DataError: the two clips of the pair differ in length or do not fit in size, or are too small.
        """
        turn, place = divmod(index, len(self.pairs))
        pair = self.pairs[int(np.random.default_rng((self.seed, turn, 1)).permutation(len(self.pairs))[place])]
        gt, lq = self.gt_cache.frames(pair.gt), self.lq_cache.frames(pair.lq)
        self._check(pair, gt, lq)
        rng, side = np.random.default_rng((self.seed, index)), self.gt_size // self.scale
        start = int(rng.integers(len(lq) - self.clip_frames + 1))
        top, left = (int(rng.integers(size - side + 1)) for size in lq.shape[1:3])
        frames = slice(start, start + self.clip_frames)
        small = lq[frames, top : top + side, left : left + side]
        top, left, side = top * self.scale, left * self.scale, self.gt_size
        large = gt[frames, top : top + side, left : left + side]
        return Clip(
            gt=torch.from_numpy(np.array(large)),
            lq=torch.from_numpy(np.array(small)),
            caption=pair.caption(),
            name=f"{index} ({pair.gt.name})",
        )

    def captions(self) -> dict[str, str]:
        """Return the captions of all pairs."""
        return {pair.gt.name: pair.caption() for pair in self.pairs}

    def _check(self, pair: PairPaths, gt: np.ndarray, lq: np.ndarray) -> None:
        pair.check(gt.shape, lq.shape, self.scale)
        if len(lq) < self.clip_frames or min(gt.shape[1:3]) < self.gt_size:
            raise DataError(
                f"{pair.gt.name}: {len(gt)} frames of {gt.shape[2]}x{gt.shape[1]} are less than {self.clip_frames} of "
                f"{self.gt_size}x{self.gt_size}: lower data.clip_frames or data.gt_size, or leave this clip out"
            )
