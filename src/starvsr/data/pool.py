"""A stream of training samples that spares the CPU: each clip is cut up many times.

Degrading a clip costs far more than cutting a crop. So a pool of clips is held in memory, every sample is a random
crop of one of them, and a clip is replaced after a fixed number of crops.

Sample i is a function of the seed and of i alone. The pool is a row of lanes; a round visits every lane once, in an
order drawn for that round; a lane changes its clip after a fixed number of rounds, each lane at another time, so that
new clips are wanted evenly. A run that is interrupted continues with exactly the sample that would have come next, and
neither the number of worker processes nor their speed changes anything.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Literal, NotRequired, TypedDict

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from starvsr.data.clips import Clip, ClipSource
from starvsr.errors import OptionError

_ORDER, _CROP = 2, 3
"""Marks that keep the generators of rounds and of crops apart."""


class Sample(TypedDict):
    """One training sample: clips in [-1, 1] with their caption, and the name of the clip they were cut from."""

    lq: torch.Tensor
    """float32 [3, T, h, w]."""
    gt: torch.Tensor
    """float32 [3, T, scale*h, scale*w]."""
    caption: str | None
    """None where it was left out on purpose (``caption_dropout``); "" where the clip has none."""
    name: str
    example: NotRequired[torch.Tensor]
    """float32 [3, 1, scale*h, scale*w]: another result of one of the frames; if the stream adds them."""
    example_frame: NotRequired[int]
    """Which of the sample's frames that is."""


class Batch(TypedDict):
    """Samples stacked: lq [B, 3, T, h, w], gt [B, 3, T, scale*h, scale*w], captions and names as lists.

    If the stream adds examples: example [B, 3, 1, scale*h, scale*w], and the frame of each sample it is of as a list.
    """

    lq: torch.Tensor
    gt: torch.Tensor
    caption: list[str | None]
    name: list[str]
    example: NotRequired[torch.Tensor]
    example_frame: NotRequired[list[int]]


class SampleStream:
    """Endless stream of samples, or of batches.

    Args:
        clips: makes clip k; must hold ``clip_frames`` >= ``num_frames`` and ``gt_size`` >= the crop.
        num_frames: frames of a sample; may be changed between samples.
        lq_crop: height of the LQ crop; may be changed between samples.
        lq_width: its width; 0 is a square. Other crops are not transposed.
        pool_size: clips held in memory (clip_frames * gt_size**2 * 3.2 bytes each).
        crops_per_clip: samples cut from each clip before it is replaced.
        seed: seed of order and crops.
        first_sample: number of the first sample; for a resumed run, the number of samples already used.
        rank: which of ``world`` processes this is; each has clips of its own.
        world: number of processes that train together.
        workers: processes that make clips; 0 makes them in this one.
        caption_dropout: share of samples whose caption is left out.
        turns: "all" flips, transposes and reverses time at random; "horizontal" only exchanges left and right.

    Raises:
        OptionError: sizes that do not fit.
    """

    def __init__(
        self,
        clips: ClipSource,
        *,
        num_frames: int = 5,
        lq_crop: int = 48,
        lq_width: int = 0,
        pool_size: int = 64,
        crops_per_clip: int = 16,
        seed: int = 0,
        first_sample: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        caption_dropout: float = 0.0,
        turns: Literal["all", "horizontal"] = "all",
    ) -> None:
        self.clips, self.pool_size, self.crops_per_clip = clips, pool_size, crops_per_clip
        self.seed, self.rank, self.world, self.workers = seed, rank, world, workers
        self.caption_dropout = caption_dropout
        self._may_turn = np.array([turns == "all", True, turns == "all", turns == "all"])
        self.next_sample = first_sample
        self.cut_to(num_frames, lq_crop, lq_width)
        self._lanes: dict[int, tuple[int, Clip]] = {}
        self._new_clips: Iterator[Clip] | None = None
        self._add_example: Callable[[Clip], Clip] | None = None

    def add_examples(self, add: Callable[[Clip], Clip] | None) -> None:
        """Have an example added to every clip from now on, those in the pool included; None: to none.

        A function of the clip alone. It is called once for a clip, when its first sample is cut, and every sample of
        the clip then holds the frame that the example is of.
        """
        self._add_example = add
        self._lanes = {lane: (number, _without_example(clip)) for lane, (number, clip) in self._lanes.items()}

    def cut_to(self, num_frames: int, lq_crop: int, lq_width: int = 0) -> None:
        """Change the size of the samples from now on; the pool stays."""
        clips, longer = self.clips, max(lq_crop, lq_width)
        if longer * clips.scale > clips.gt_size or num_frames > clips.clip_frames:
            raise OptionError(
                f"a sample of {num_frames} frames and {longer * clips.scale} px does not fit into clips of "
                f"{clips.clip_frames} frames and {clips.gt_size} px: raise data.clip_frames or data.gt_size"
            )
        self.num_frames, self.lq_crop, self.lq_width = num_frames, lq_crop, lq_width or lq_crop

    def __iter__(self) -> Iterator[Sample]:
        """Yield samples without end, from ``next_sample`` on."""
        while True:
            yield self.take()

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of ``size`` samples without end."""
        while True:
            samples = [self.take() for _ in range(size)]
            batch = Batch(
                lq=torch.stack([sample["lq"] for sample in samples]),
                gt=torch.stack([sample["gt"] for sample in samples]),
                caption=[sample["caption"] for sample in samples],
                name=[sample["name"] for sample in samples],
            )
            if "example" in samples[0]:
                batch["example"] = torch.stack([sample["example"] for sample in samples])
                batch["example_frame"] = [sample["example_frame"] for sample in samples]
            yield batch

    def take(self) -> Sample:
        """Return the next sample."""
        index = self.next_sample
        lane, clip_index = self._visit(index)
        if self._lanes.get(lane, (-1, None))[0] != clip_index:
            if self._new_clips is None:
                self._new_clips = self._clips_from(index)
            self._lanes[lane] = (clip_index, next(self._new_clips))
        clip = self._lanes[lane][1]
        if self._add_example is not None and "example" not in clip:
            clip = self._add_example(clip)
            self._lanes[lane] = (clip_index, clip)
        self.next_sample = index + 1
        return self._cut(clip, np.random.default_rng((self.seed, self.rank, index, _CROP)))

    def _visit(self, index: int) -> tuple[int, int]:
        """Return lane and clip of a sample."""
        turn, place = divmod(index, self.pool_size)
        order = np.random.default_rng((self.seed, self.rank, turn, _ORDER)).permutation(self.pool_size)
        lane = int(order[place])
        head_start = lane * self.crops_per_clip // self.pool_size
        generation = (turn + head_start) // self.crops_per_clip
        return lane, (generation * self.pool_size + lane) * self.world + self.rank

    def _clips_wanted(self, index: int) -> Iterator[int]:
        """Yield the clips that samples from ``index`` on ask for, in the order in which they do."""
        held: dict[int, int] = {}
        while True:
            lane, clip = self._visit(index)
            if held.get(lane) != clip:
                held[lane] = clip
                yield clip
            index += 1

    def _clips_from(self, index: int) -> Iterator[Clip]:
        if self.workers:
            gc.collect()  # a forked worker would deadlock on threads of scalers whose frames are in reference cycles
        loader: DataLoader[Clip] = DataLoader(
            _Clips(self.clips),
            batch_size=None,
            sampler=_Order(self, index),
            num_workers=self.workers,
            prefetch_factor=8 if self.workers else None,
            generator=torch.Generator(),
        )
        return iter(loader)

    def _cut(self, clip: Clip, rng: np.random.Generator) -> Sample:
        scale, crop = self.clips.scale, (self.lq_crop, self.lq_width)
        num_frames, height, width = clip["lq"].shape[:3]
        first, last = 0, num_frames - self.num_frames
        if "example" in clip:
            first, last = max(0, clip["example_frame"] - self.num_frames + 1), min(last, clip["example_frame"])
        start = int(rng.integers(first, last + 1))
        top, left = (int(rng.integers(side - own + 1)) for side, own in zip((height, width), crop, strict=True))
        turns = (rng.random(4) < 0.5) & self._may_turn
        turns[2] &= self.lq_crop == self.lq_width
        dropped = rng.random() < self.caption_dropout
        window = (top, left, *crop)
        gt_window = tuple(scale * place for place in window)
        sample = Sample(
            lq=_crop(clip["lq"], start, self.num_frames, window, turns),
            gt=_crop(clip["gt"], start, self.num_frames, gt_window, turns),
            caption=None if dropped else clip["caption"],
            name=clip["name"],
        )
        if "example" in clip:
            place = clip["example_frame"] - start
            sample["example"] = _crop(clip["example"][None], 0, 1, gt_window, turns)
            sample["example_frame"] = self.num_frames - 1 - place if turns[3] else place
        return sample


class _Clips(Dataset[Clip]):
    """Clips by number, for the workers of a DataLoader."""

    def __init__(self, clips: ClipSource) -> None:
        self.clips = clips

    def __getitem__(self, index: int) -> Clip:
        return self.clips.make(index)


class _Order:
    """The order in which a stream wants its clips, for a DataLoader to work ahead."""

    def __init__(self, stream: SampleStream, first_sample: int) -> None:
        self.stream, self.first_sample = stream, first_sample

    def __iter__(self) -> Iterator[int]:
        return self.stream._clips_wanted(self.first_sample)


def _without_example(clip: Clip) -> Clip:
    return Clip(gt=clip["gt"], lq=clip["lq"], caption=clip["caption"], name=clip["name"])


def _crop(clip: torch.Tensor, start: int, num_frames: int, window: tuple[int, ...], turns: np.ndarray) -> torch.Tensor:
    """Cut a window (top, left, height, width), turn it, and scale it to [-1, 1].

    Turns are a vertical flip, a horizontal flip, a transposition and a reversal of time.
    """
    top, left, height, width = window
    part = clip[start : start + num_frames, top : top + height, left : left + width]
    axes = [axis for axis, turned in zip((1, 2, 0), (turns[0], turns[1], turns[3]), strict=True) if turned]
    part = part.flip(axes) if axes else part
    part = part.transpose(1, 2) if turns[2] else part
    return part.permute(3, 0, 1, 2).contiguous().float().div_(127.5).sub_(1.0)
