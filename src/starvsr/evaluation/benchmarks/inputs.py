"""What models are given and scored against: clips as they lie there, or parts and low-quality versions of them.

Made clips are kept as lossless files in the benchmark's folder. All clips are held against the checksums of an
earlier run, or of the one that is to be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from starvsr.errors import InputError, OptionError, ResourceError
from starvsr.evaluation.benchmarks.degradations import degraded
from starvsr.evaluation.benchmarks.frozen import (
    FROZEN_NAME,
    Digest,
    Frozen,
    digest_of,
    read_frozen,
    refuse_other_pixels,
    refuse_other_settings,
)
from starvsr.evaluation.benchmarks.layout import BenchmarkClip, FoundData
from starvsr.evaluation.clip_source import ClipSource, sha256_of
from starvsr.metrics.metric import ByteArray
from starvsr.quantities import format_size
from starvsr.video.codec_pass import write_lossless
from starvsr.video.write.publish import as_output_error, discard, file_sha256, partial_path, publish

_CHAIN = 24  # bytes that the degradation holds for each byte of a clip


@dataclass(frozen=True)
class InputOptions:
    """How clips are made.

    Attributes:
        seed: Of the degradation.
        frames: Frames of each clip, from its first one; None for all.
        max_size: Largest ground truth, width and height; larger ones are cut around their centre.
        scale: Ground truth pixels per low-quality pixel; None: what the clips say, and 4 where low-quality clips are
            made or there is no ground truth.
    """

    seed: int = 0
    frames: int | None = None
    max_size: tuple[int, int] | None = None
    scale: int | None = None


@dataclass(frozen=True)
class ReadyClip:
    """A clip that models can be given.

    Attributes:
        name: What tables call it.
        gt: The ground truth; None where there is none.
        lq: The low-quality clip.
        scale: How many times larger results are.
        digests: Of "gt" and "lq".
    """

    name: str
    gt: ClipSource | None
    lq: ClipSource
    scale: int
    digests: dict[str, Digest]

    @property
    def pixels(self) -> dict[str, str]:
        """SHA-256 of the pixels of both."""
        return {side: digest.pixels for side, digest in self.digests.items()}


def make_inputs(
    set_name: str,
    data: FoundData,
    folder: Path,
    options: InputOptions,
    *,
    frozen: Path | None = None,
    on_step: Callable[[str], None] = lambda line: None,
) -> list[ReadyClip]:
    """Make the clips that are missing, and check all of them.

    Args:
        set_name: name of the data set.
        data: where it lies.
        folder: the benchmark's folder; ``gt`` and ``lq`` in it hold what is made, `frozen.json` the checksums.
        options: how clips are made.
        frozen: checksums to hold the clips against, as another run wrote them.
        on_step: told what is done.

    Raises:
        InputError: clips are not those that were frozen, or ground truth and input do not belong together.
        ResourceError: a clip is too long to be degraded in memory.
        OutputError: the system refuses to write.
    """
    settings = {
        "benchmark": set_name,
        "lq": data.lq,
        "seed": options.seed if data.is_synthetic else None,
        "frames": options.frames,
        "max_size": list(options.max_size) if options.max_size else None,
        "scale": options.scale,
    }
    book = _Checksums(folder / FROZEN_NAME, settings, frozen)
    ready = []
    for place, clip in enumerate(data.clips):
        on_step(f"data: {clip.name} ({place + 1} of {len(data.clips)})")
        ready.append(_make(clip, data, folder, options, book))
    return ready


class _Checksums:
    """The checksums of this run, and those of the run to repeat."""

    def __init__(self, path: Path, settings: dict[str, Any], other: Path | None) -> None:
        self.path = path
        self.own = read_frozen(path) if path.is_file() else Frozen(settings)
        refuse_other_settings(self.own, settings, path)
        self._other_path = other
        self._other = None if other is None else read_frozen(other)
        if self._other is not None and other is not None:
            refuse_other_settings(self._other, settings, other)

    def known(self, clip: str) -> list[tuple[dict[str, Digest], Path]]:
        """Return the checksums of a clip, with the file that holds them.

        Raises:
            InputError: the run to repeat has no such clip.
        """
        found = [(self.own.clips[clip], self.path)] if clip in self.own.clips else []
        if self._other is not None and self._other_path is not None:
            if clip not in self._other.clips:
                raise InputError(
                    f"{clip}: is not among the clips that {self._other_path} froze: leave it out by --clips"
                )
            found.append((self._other.clips[clip], self._other_path))
        return found

    def keep(self, clip: str, digests: dict[str, Digest]) -> None:
        """Add a clip."""
        self.own.clips[clip] = digests
        self.own.write(self.path)


def _make(clip: BenchmarkClip, data: FoundData, folder: Path, options: InputOptions, book: _Checksums) -> ReadyClip:
    scale = _scale(clip, data, options)
    sides = {"gt": clip.gt, "lq": clip.lq}
    made = {side: ClipSource(clip.name, folder / side / f"{clip.name}.mkv") for side in sides}
    is_made = _made_sides(clip, data, options, scale)
    sides |= {side: made[side] for side in is_made}
    known = book.known(clip.name)
    before = book.own.clips.get(clip.name, {})
    if any(not _is_there(made[side].path, before.get(side)) for side in is_made):
        _write(clip, data, options, scale, {side: made[side].path for side in is_made})
    found = {side: _checked(clip.name, side, source, known) for side, source in sides.items() if source is not None}
    if before != found:
        book.keep(clip.name, found)
    _check_pair(clip.name, found, scale)
    lq = sides["lq"]
    assert lq is not None
    return ReadyClip(clip.name, sides["gt"], lq, scale, found)


def _is_there(path: Path, known: Digest | None) -> bool:
    """Whether a clip that was made is still there as it was written."""
    return known is not None and path.is_file() and file_sha256(path) == known.files


def _checked(name: str, side: str, source: ClipSource, known: list[tuple[dict[str, Digest], Path]]) -> Digest:
    """Hold a clip against its checksums; it is decoded only where its files are not the same."""
    files = sha256_of(source.files)
    same = [digests[side] for digests, _ in known if side in digests and digests[side].files == files]
    digest = same[0] if same else digest_of(source)
    for digests, path in known:
        if side in digests:
            refuse_other_pixels(name, side, digest, digests[side], path)
    return digest


def _scale(clip: BenchmarkClip, data: FoundData, options: InputOptions) -> int:
    """Return how many times larger the ground truth is."""
    if clip.gt is None or clip.lq is None:
        return options.scale or 4
    gt, lq = clip.gt.info, clip.lq.info
    ratio, rest = divmod(gt.width, lq.width)
    if rest or (gt.width, gt.height) != (ratio * lq.width, ratio * lq.height) or not 1 <= ratio <= 4:
        raise InputError(
            f"{clip.name}: the ground truth is {gt.width}x{gt.height}, the low-quality clip {lq.width}x{lq.height}: "
            "models enlarge 1, 2, 3 or 4 times; is another version of the set in the folder?"
        )
    if options.scale not in (None, ratio):
        raise OptionError(f"--scale {options.scale}: the clips on disk differ {ratio} times in size: leave it out")
    return ratio


def _made_sides(clip: BenchmarkClip, data: FoundData, options: InputOptions, scale: int) -> list[str]:
    """Say which sides of a clip are written anew."""
    source = clip.gt or clip.lq
    assert source is not None
    width, height = source.info.width, source.info.height
    unit = scale if clip.gt is not None else 1
    limit = options.max_size or (width, height)
    if clip.gt is None and options.max_size:
        limit = (limit[0] // scale, limit[1] // scale)
    is_cut = (
        options.frames is not None
        or (data.is_synthetic and bool(width % unit or height % unit))
        or width > limit[0]
        or height > limit[1]
    )
    there = [side for side, found in (("gt", clip.gt), ("lq", clip.lq)) if found is not None]
    return (there if is_cut else []) + (["lq"] if data.is_synthetic else [])


def _write(clip: BenchmarkClip, data: FoundData, options: InputOptions, scale: int, targets: dict[str, Path]) -> None:
    source = clip.gt or clip.lq
    assert source is not None
    pixels = {"gt": None if clip.gt is None else _read(clip.gt, options, data.is_synthetic, clip.name)}
    if pixels["gt"] is not None:
        pixels["gt"] = _cut(pixels["gt"], options.max_size, scale, clip.name)
    if clip.lq is not None:
        limit = None if options.max_size is None else (options.max_size[0] // scale, options.max_size[1] // scale)
        pixels["lq"] = _cut(_read(clip.lq, options, False, clip.name), limit, 1, clip.name)
    elif pixels["gt"] is not None:
        pixels["lq"] = degraded(pixels["gt"], data.lq, clip.name, options.seed, scale)
    for side, target in targets.items():
        frames = pixels[side]
        assert frames is not None
        _store(frames, target, source)


def _read(source: ClipSource, options: InputOptions, is_degraded: bool, name: str) -> ByteArray:
    import psutil

    count = options.frames or source.info.estimated_frames or 0
    size = source.info.width * source.info.height * 3 * count * (_CHAIN if is_degraded else 2)
    free = psutil.virtual_memory().available
    if size > free:
        raise ResourceError(
            f"{name}: {count} frames of {source.info.width}x{source.info.height} take {format_size(size)} of memory to "
            f"be made ready, {format_size(free)} is free: give --frames or --max-size"
        )
    return np.stack(list(islice(iter(source), options.frames)))


def _cut(frames: ByteArray, limit: tuple[int, int] | None, unit: int, name: str) -> ByteArray:
    """Cut frames [T, H, W, 3] around their centre; borders lie at multiples of ``unit``, so that sides stay aligned."""
    height, width = (side // unit for side in frames.shape[1:3])
    wide, high = (width, height) if limit is None else (min(width, limit[0] // unit), min(height, limit[1] // unit))
    if not (wide and high):
        raise OptionError(f"{name}: nothing is left of {frames.shape[2]}x{frames.shape[1]}: give a larger --max-size")
    left, top = ((width - wide) // 2) * unit, ((height - high) // 2) * unit
    return frames[:, top : top + high * unit, left : left + wide * unit]


def _store(frames: ByteArray, target: Path, source: ClipSource) -> None:
    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_lossless(partial, frames, source.frame_rate)
        publish(partial, target)
    except OSError as error:
        raise as_output_error(target, error) from None
    finally:
        discard(partial)


def _check_pair(name: str, found: dict[str, Digest], scale: int) -> None:
    if "gt" not in found:
        return
    gt, lq = found["gt"], found["lq"]
    if gt.frames != lq.frames:
        raise InputError(
            f"{name}: the ground truth has {gt.frames} frames, the low-quality clip {lq.frames}: cut both to the same"
        )
    if gt.size != (lq.size[0] * scale, lq.size[1] * scale):
        raise InputError(
            f"{name}: the ground truth is {gt.size[0]}x{gt.size[1]}, the low-quality clip {lq.size[0]}x{lq.size[1]}, "
            f"not {scale} times smaller"
        )
