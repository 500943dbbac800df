"""Building paired sets for training: sharp videos in, folders gt/, lq/ and text/ out.

Every pair has a generator of its own, made from the seed, the name and the number of the clip; a pair that lies
there is not made again. So a set can be built by any number of processes, interrupted, and grown.
"""

from __future__ import annotations

import csv
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from starvsr.data.folders import list_clips, passed_over
from starvsr.data.motion import resize_frames
from starvsr.data.paired import center_crop
from starvsr.data.synthetic import read_caption, read_images
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.presets import get_recipe
from starvsr.degradation.recipe import degrade_clip
from starvsr.degradation.released import ReleasedOptions, degrade_released
from starvsr.errors import DataError, OptionError
from starvsr.video.codec_pass import clip_frame_rate, hdr_transfer, read_clip, write_clip, write_lossless


@dataclass(frozen=True)
class SetOptions:
    """How a paired set is made.

    Attributes:
        preset: degradation preset, see `starvsr.degradation.presets.PRESETS`; not used by the released chain.
        chain: "clip" (drawn per clip) or "released" (STAR's script: per frame, sharpened ground truth).
        width_bug: of the released chain: leave the width out of the second resize, as the script does.
        sharpen_gt: of the released chain: store and degrade the sharpened ground truth, as the script does.
        seed: seed of everything.
        scale: GT pixels per LQ pixel.
        num_frames: frames of a pair; 0 takes the whole video as one.
        step: distance between the frames taken (STAR takes every second one).
        clips_per_video: pairs cut from each video, evenly spread; fewer where the video is short.
        max_size: largest GT (width, height); larger videos are cut around their centre.
        storage: "lossless" (FFV1 in Matroska) or "near-lossless" (H.264 at CRF 8, about a tenth of the size).
    """

    preset: str = "mixed"
    chain: Literal["clip", "released"] = "clip"
    width_bug: bool = True
    sharpen_gt: bool = True
    seed: int = 0
    scale: int = 4
    num_frames: int = 32
    step: int = 1
    clips_per_video: int = 1
    max_size: tuple[int, int] = (1280, 720)
    storage: Literal["lossless", "near-lossless"] = "lossless"

    def __post_init__(self) -> None:
        """Refuse what cannot be honoured."""
        get_recipe(self.preset)
        if self.chain == "released" and self.scale != 4:
            raise OptionError(f"the released chain makes clips 4 times smaller, not {self.scale}")
        if self.num_frames < 0 or self.step < 1 or self.clips_per_video < 1 or min(self.max_size) < self.scale:
            raise OptionError("num_frames must be 0 or more, step and clips_per_video 1 or more")


@dataclass(frozen=True)
class Source:
    """A sharp video (or folder of images) and its caption."""

    path: Path
    caption: str = ""


@dataclass(frozen=True)
class Task:
    """One pair to make: part ``number`` of a source, stored under ``name``."""

    source: Source
    name: str
    number: int
    options: SetOptions
    folder: Path


def find_sources(place: Path, on_note: Callable[[str], None] | None = None) -> list[Source]:
    """List the videos of a folder, or of a CSV with columns `path` and `text` (paths relative to the CSV).

    In a folder, captions are `NAME.txt` beside the video. HDR videos are left out, and folders of videos not looked
    into.

    Args:
        place: the folder or the CSV.
        on_note: called with what is passed over, a sentence.

    Raises:
        DataError: nothing there, a missing column, or a path that leads nowhere.
    """
    if place.is_dir():
        found = [Source(path, read_caption(path.with_suffix(".txt"))) for path in list_clips(place)]
    else:
        found = list(_read_csv(place))
    hdr = [s.path for s in found if not s.path.is_dir() and hdr_transfer(s.path) is not None]
    found = [source for source in found if source.path not in hdr]
    if on_note is not None:
        notes = passed_over(place, [source.path for source in found], hdr) if place.is_dir() else []
        for note in notes or [f"{path}: left out, since it is HDR" for path in hdr if not place.is_dir()]:
            on_note(note)
    if not found:
        raise DataError(f"no videos in {place}: give a folder of sharp videos, or a CSV with columns path and text")
    stems = [source.path.stem for source in found]
    double = sorted({stem for stem in stems if stems.count(stem) > 1})
    if double:
        raise DataError(
            f"two videos in {place} are called {double[0]}: their pairs would get the same name; rename one"
        )
    return found


def _read_csv(file: Path) -> Iterator[Source]:
    if file.exists() and not file.is_file():
        raise DataError(f"{file}: a pipe or device, and no CSV; give a file")
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise DataError(f"{file}: neither a folder nor a readable CSV ({error})") from error
    for row in rows:
        if row.get("path") is None:
            raise DataError(f"{file} has no column path; it needs the columns path and text")
        path = file.parent / row["path"]
        if not path.exists():
            raise DataError(f"{file} names {row['path']}, and there is no such file; check the paths in the CSV")
        yield Source(path, " ".join((row.get("text") or "").split()))


def plan_set(sources: Iterable[Source], folder: Path, options: SetOptions) -> list[Task]:
    """List the pairs of a set; which of a video's parts exist is found when they are made.

    Raises:
        DataError: the folder holds a set of other options.
    """
    record = folder / "set.json"
    wanted = json.loads(json.dumps(asdict(options)))
    if record.is_file():
        found = json.loads(record.read_text())
        changed = [f"{key} {found.get(key)!r} -> {value!r}" for key, value in wanted.items() if found.get(key) != value]
        if changed:
            raise DataError(f"{folder} holds a set made with other options ({', '.join(changed)}): take another folder")
    for part in ("gt", "lq", "text"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(wanted, indent=1) + "\n")
    many = options.clips_per_video > 1
    return [
        Task(source, f"{source.path.stem}_{number:03d}" if many else source.path.stem, number, options, folder)
        for source in sources
        for number in range(options.clips_per_video)
    ]


def build_set(tasks: list[Task], *, workers: int = 1, on_done: Callable[[Task, str], None] | None = None) -> int:
    """Make all pairs that are not there yet, and return how many were made.

    Args:
        tasks: from :func:`plan_set`.
        workers: processes; 1 works in this one. The result does not depend on it.
        on_done: called after each pair with "made", "there already" or why there is none.
    """
    made = 0
    for task, outcome in zip(tasks, _outcomes(tasks, workers), strict=True):
        made += outcome == "made"
        if on_done is not None:
            on_done(task, outcome)
    return made


def _outcomes(tasks: list[Task], workers: int) -> Iterator[str]:
    if workers <= 1:
        yield from map(make_pair, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(make_pair, tasks)


def _one_thread() -> None:
    torch.set_num_threads(1)


def make_pair(task: Task) -> str:
    """Make one pair unless it is there; returns "made", "there already" or why there is none."""
    options = task.options
    suffix = ".mkv" if options.storage == "lossless" else ".mp4"
    gt_path, lq_path = (task.folder / part / f"{task.name}{suffix}" for part in ("gt", "lq"))
    text_path = task.folder / "text" / f"{task.name}.txt"
    if text_path.exists() and gt_path.exists() and lq_path.exists():
        return "there already"
    frames = _cut(task)
    if frames is None:
        return f"too short for part {task.number + 1}"
    rng = np.random.default_rng((options.seed, zlib.crc32(task.source.path.stem.encode()), task.number))
    gt, lq = _degrade(frames, options, rng)
    rate = 25 if task.source.path.is_dir() else clip_frame_rate(task.source.path) / options.step
    _store(gt_path, gt, rate, options)
    _store(lq_path, lq, rate, options)
    _whole(text_path, lambda partial: partial.write_text(task.source.caption + "\n", encoding="utf-8"))
    return "made"


def _cut(task: Task) -> np.ndarray | None:
    """Read the frames of a part, uint8 [T, H, W, 3], cut to size; None when the video has no such part."""
    options, path = task.options, task.source.path
    if not options.num_frames and task.number:
        return None
    start, count = task.number * options.num_frames * options.step, options.num_frames or None
    if path.is_dir():
        frames = read_images(path)[start :: options.step][:count]
    else:
        frames = read_clip(path, num_frames=None if count is None else start + count * options.step)[
            start :: options.step
        ]
        frames = frames[:count]
    if not len(frames) or (count is not None and task.number and len(frames) < count):
        return None
    return center_crop(resize_frames(frames, 1.0), options.max_size, max(options.scale, 4))


def _degrade(frames: np.ndarray, options: SetOptions, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    clip = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    if options.chain == "clip":
        return frames, to_bytes(degrade_clip(clip, options.preset, rng, options.scale))
    quirks = ReleasedOptions(width_bug=options.width_bug, sharpen_gt=options.sharpen_gt)
    gt, lq = degrade_released(clip.float() / 255.0, rng, quirks)
    return to_bytes(gt), to_bytes(lq)


def _store(path: Path, frames: np.ndarray, rate: Fraction | int, options: SetOptions) -> None:
    if options.storage == "lossless":
        _whole(path, lambda partial: write_lossless(partial, frames, rate))
        return
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise OptionError(
            f"{path.name}: {width}x{height} has odd sides, which H.264 cannot store; use storage lossless, or a "
            f"max_size that is a multiple of {2 * options.scale}"
        )
    _whole(path, lambda partial: write_clip(partial, frames, rate, crf=8))


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, so that it is whole or absent."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
