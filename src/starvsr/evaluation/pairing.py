"""Which clips a path holds, and which clip of a result belongs to which one of the reference: by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starvsr.errors import InputError, InputNotFoundError, OptionError, UnreadableInputError
from starvsr.evaluation.clip_source import ClipSource
from starvsr.video.patterns import is_pattern, pattern_head
from starvsr.video.read.images import images_in, natural_key, sequence_numbers
from starvsr.video.suffixes import VIDEO_SUFFIXES

_MARK = re.compile(r"_(x\d+(\.\d+)?|\d+p|w\d+|\d+x\d+)$", re.ASCII)
_NAMED = 8  # clips that an error names


@dataclass(frozen=True)
class ClipTrio:
    """A clip of a result with what belongs to it.

    Attributes:
        name: What tables call it: the name of the reference's clip, without one of the input's, else the result's.
        hq: The result.
        gt: The reference; None where there is none.
        lq: The low-quality input; None where there is none.
    """

    name: str
    hq: ClipSource
    gt: ClipSource | None = None
    lq: ClipSource | None = None


def find_clips(word: str | Path) -> list[ClipSource]:
    """List the clips that a path holds.

    A video, an image or a numbered pattern is one clip. A folder of numbered images is one clip, too; other images in
    a folder are clips of one frame each. A folder of videos or of folders with images holds a clip for each of them.

    Raises:
        InputNotFoundError: there is nothing of that name.
        UnreadableInputError: a folder holds neither videos nor images.
    """
    path = Path(word)
    if is_pattern(path):
        return [ClipSource(pattern_head(path.name), path)]
    if not path.exists():
        raise InputNotFoundError(f"{path}: there is no such file or folder; check the path")
    if not path.is_dir():
        return [ClipSource(path.stem, path)]
    try:
        entries = sorted((e for e in path.iterdir() if not e.name.startswith(".")), key=natural_key)
        folders = [e for e in entries if e.is_dir() and images_in(e)]
    except OSError as error:
        raise UnreadableInputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    videos = [e for e in entries if e.suffix.lower() in VIDEO_SUFFIXES and e.is_file()]
    if videos or folders:
        return [ClipSource(e.stem if e in videos else e.name, e) for e in entries if e in videos or e in folders]
    images = images_in(path)
    if not images:
        raise UnreadableInputError(f"{path}: neither videos nor images in this folder; give one that holds clips")
    if len(images) == 1 or sequence_numbers(images) is None:
        return [ClipSource(image.stem, image) for image in images]
    return [ClipSource(path.resolve().name, path)]


def pair_clips(
    results: Sequence[ClipSource], references: Sequence[ClipSource] | None, inputs: Sequence[ClipSource] | None
) -> list[ClipTrio]:
    """Give each clip of a result its reference and its input.

    Names must be equal; ``x_x4``, ``x_1080p``, ``x_w1920`` and ``x_1920x1080``, as `starvsr upscale` names its results,
    also belong to ``x``. Where both sides hold one clip, names do not matter.

    Raises:
        InputError: clips have no partner, or two have the same one; the message lists them.
        OptionError: a result is its own reference or input.
    """
    gts = _partners(results, references, "reference") if references is not None else [None] * len(results)
    lqs = _partners(results, inputs, "lq") if inputs is not None else [None] * len(results)
    trios = []
    for hq, gt, lq in zip(results, gts, lqs, strict=True):
        for other, flag in ((gt, "--reference"), (lq, "--lq")):
            if other is not None and _is_same(hq.path, other.path):
                raise OptionError(f"{hq.path}: is given as result and as {flag}: a clip is not compared with itself")
        if gt is not None and lq is not None and _is_same(gt.path, lq.path):
            raise OptionError(f"{gt.path}: is given as --reference and as --lq: leave out the one that it is not")
        trios.append(ClipTrio((gt or lq or hq).name, hq, gt, lq))
    return trios


def base_name(name: str) -> str:
    """Return a name without the mark that `starvsr upscale` puts behind those of its results."""
    return _MARK.sub("", name)


def _partners(results: Sequence[ClipSource], others: Sequence[ClipSource], side: str) -> list[ClipSource | None]:
    if len(results) == len(others) == 1:
        return [others[0]]
    partners, taken = [], dict[Path, ClipSource]()
    alone = []
    by_name = _by_name(others, side)
    for result in results:
        found = by_name.get(result.name) or by_name.get(base_name(result.name))
        if found is None:
            alone.append(result.name)
            continue
        twin = taken.setdefault(found.path, result)
        if twin is not result:
            raise InputError(f"{twin.path} and {result.path} both belong to {found.path}: keep one of them")
        partners.append(found)
    left = [other.name for other in others if other.path not in taken]
    if alone or left:
        raise InputError(_no_partner(alone, left, side))
    return list(partners)


def _by_name(clips: Sequence[ClipSource], side: str) -> dict[str, ClipSource]:
    found: dict[str, ClipSource] = {}
    for clip in clips:
        twin = found.setdefault(clip.name, clip)
        if twin is not clip:
            raise InputError(f"{twin.path} and {clip.path} of --{side} have one name: keep one of them")
    return found


def _no_partner(alone: Sequence[str], left: Sequence[str], side: str) -> str:
    parts = []
    if alone:
        parts.append(f"{_listed(alone)} of the result {'has' if len(alone) == 1 else 'have'} no partner in --{side}")
    if left:
        parts.append(f"{_listed(left)} of --{side} {'has' if len(left) == 1 else 'have'} none in the result")
    return f"{' and '.join(parts)}: clips are paired by name (x.mp4 or x_x4.mp4 with x.mp4); rename or remove them"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return os.path.abspath(one) == os.path.abspath(other)
