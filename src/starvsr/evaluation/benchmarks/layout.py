"""Find the clips of a data set in the folder that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starvsr.errors import InputError, InputNotFoundError, OptionError, UnreadableInputError
from starvsr.evaluation.benchmarks.clip_list import is_list, read_list
from starvsr.evaluation.benchmarks.degradations import is_degradation, known_degradations
from starvsr.evaluation.benchmarks.sets import BenchmarkSet
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.pairing import base_name, find_clips
from starvsr.video.read.images import images_in

_NAMED = 8  # clips and folders that an error names


@dataclass(frozen=True)
class BenchmarkClip:
    """A clip of a data set.

    Attributes:
        name: What tables call it.
        gt: The ground truth; None where the set has none.
        lq: The low-quality clip; None where it is to be made.
    """

    name: str
    gt: ClipSource | None
    lq: ClipSource | None


@dataclass(frozen=True)
class FoundData:
    """What a folder holds.

    Attributes:
        clips: In order of their names.
        lq: Where the low-quality clips come from: the name of their folder, or of a degradation.
        is_synthetic: They are made from the ground truth.
        notes: Sentences for the user.
        num_clips: Clips of the set as it was found, before some were selected.
    """

    clips: tuple[BenchmarkClip, ...]
    lq: str
    is_synthetic: bool
    notes: tuple[str, ...] = ()
    num_clips: int = field(default=0)


def find_data(
    wanted: BenchmarkSet,
    data: Path,
    *,
    lq: str | None = None,
    clips: Sequence[str] | None = None,
    allow_partial: bool = False,
) -> FoundData:
    """Find the clips of a data set.

    Args:
        wanted: the set.
        data: its folder, or a list of clips for sets that take one.
        lq: name of a folder in it, or of a degradation by which low-quality clips are made; None takes the set's own.
        clips: names of the clips wanted; None for all.
        allow_partial: take a set that is not whole.

    Raises:
        InputError: the folder is not laid out as the set is, or not whole; the message says what was expected and
            found.
        OptionError: there is no such low-quality version or clip.
    """
    if not data.exists():
        raise InputNotFoundError(f"{data}: there is no such file or folder; --data names where {wanted.title} lies")
    if not data.is_dir():
        found = _from_list(wanted, data, lq)
    elif wanted.has_gt:
        found = _pairs(wanted, data, lq)
    else:
        found = _without_gt(wanted, data, lq)
    _refuse_twins(data, found.clips)
    kept = _of_set(wanted, found.clips)
    if not allow_partial:
        _refuse_partial(wanted, data, kept)
    return FoundData(tuple(_selected(kept, clips)), found.lq, found.is_synthetic, found.notes, len(kept))


def _from_list(wanted: BenchmarkSet, data: Path, lq: str | None) -> FoundData:
    if not (wanted.takes_list and is_list(data)):
        kinds = "a folder or a list (.csv, .txt)" if wanted.takes_list else "a folder"
        raise InputError(f"{data}: {wanted.title} is read from {kinds}: expected {wanted.expected()}")
    rows = read_list(data)
    if lq is None and all(low is not None for _, low in rows):
        return FoundData(tuple(BenchmarkClip(gt.name, gt, low) for gt, low in rows), f"{data.name}, column lq", False)
    if lq is None and any(low is not None for _, low in rows):
        alone = [gt.name for gt, low in rows if low is None]
        raise InputError(f"{data}: {_listed(alone)} without a low-quality clip: fill the column lq, or leave it out")
    word = lq or wanted.degradation
    if not is_degradation(word):
        raise OptionError(f"--lq {word}: with a list, name how to make it: {known_degradations()}")
    return FoundData(tuple(BenchmarkClip(gt.name, gt, None) for gt, _ in rows), word, True)


def _pairs(wanted: BenchmarkSet, data: Path, lq: str | None) -> FoundData:
    nested = _inside(wanted, data)
    gt_folder = None if nested else _first_folder(data, wanted.gt)
    gts = [gt for gt, _ in nested] if nested else _clips_of(gt_folder)
    if not gts:
        raise InputError(_misplaced(wanted, data))
    lq_folder, word = _lq_folder(wanted, data, lq)
    if lq is None and nested and all(low is not None for _, low in nested):
        return FoundData(tuple(BenchmarkClip(g.name, g, low) for g, low in nested), str(wanted.inside), False)
    if lq_folder is None:
        if not word:
            raise InputError(_misplaced(wanted, data, "no folder of low-quality clips"))
        there = [name for name in wanted.more_lq if _first_folder(data, (name,)) is not None]
        note = (
            [f"low-quality clips are made ({word}); {', '.join(there)} is there, too: --lq {there[0]}"] if there else []
        )
        return FoundData(tuple(BenchmarkClip(gt.name, gt, None) for gt in gts), word, True, tuple(note))
    gts = [clip.gt for clip in _of_set(wanted, [BenchmarkClip(gt.name, gt, None) for gt in gts]) if clip.gt]
    return FoundData(tuple(_paired(gts, _clips_of(lq_folder), lq_folder)), word, False)


def _without_gt(wanted: BenchmarkSet, data: Path, lq: str | None) -> FoundData:
    if lq is not None and is_degradation(lq):
        raise OptionError(f"--lq {lq}: {wanted.title} has no ground truth to make low-quality clips of: leave it out")
    folder, word = _lq_folder(wanted, data, lq)
    clips = _clips_of(folder)
    if not clips:
        raise InputError(_misplaced(wanted, data))
    return FoundData(tuple(BenchmarkClip(clip.name, None, clip) for clip in clips), word, False)


def _lq_folder(wanted: BenchmarkSet, data: Path, lq: str | None) -> tuple[Path | None, str]:
    """Return the folder of low-quality clips and its name; without a folder, how they are made."""
    if lq is None:
        name = next((name for name in wanted.lq if _clips_of(_first_folder(data, (name,)))), None)
        return (None, wanted.degradation) if name is None else (_first_folder(data, (name,)), name)
    folder = _first_folder(data, (lq,))
    if folder is None and Path(lq).is_dir() and not is_degradation(lq):  # ./heavy is a folder, heavy a degradation
        folder = Path(lq)
    if folder is not None:
        return folder, lq
    if is_degradation(lq):
        return None, lq
    raise OptionError(
        f"--lq {lq}: no folder of {data}, and no degradation: name a folder ({_content(data)}) or one of "
        f"{known_degradations()}"
    )


def _inside(wanted: BenchmarkSet, data: Path) -> list[tuple[ClipSource, ClipSource | None]]:
    """Find clips whose folder holds ground truth and input in folders of their own."""
    if wanted.inside is None:
        return []
    found = []
    for folder in sorted(entry for entry in data.iterdir() if entry.is_dir()):
        truth, low = (folder / name for name in wanted.inside)
        if truth.is_dir() and images_in(truth):
            has_low = low.is_dir() and bool(images_in(low))
            found.append((ClipSource(folder.name, truth), ClipSource(folder.name, low) if has_low else None))
    return found


def _first_folder(data: Path, names: Sequence[str]) -> Path | None:
    """Return the first of several folders that is there; capitals make no difference."""
    for name in names:
        place: Path | None = data
        for part in Path(name).parts:
            place = _entry(place, part) if place is not None else None
        if place is not None and place.is_dir():
            return place
    return None


def _entry(folder: Path, name: str) -> Path | None:
    if (folder / name).is_dir():
        return folder / name
    return next((e for e in sorted(folder.iterdir()) if e.name.lower() == name.lower() and e.is_dir()), None)


def _clips_of(folder: Path | None) -> list[ClipSource]:
    if folder is None:
        return []
    try:
        return find_clips(folder)
    except UnreadableInputError:
        return []


def _paired(gts: Sequence[ClipSource], lqs: Sequence[ClipSource], lq_folder: Path) -> list[BenchmarkClip]:
    if len(gts) == len(lqs) == 1:
        return [BenchmarkClip(gts[0].name, gts[0], lqs[0])]
    by_name = {base_name(clip.name): clip for clip in lqs} | {clip.name: clip for clip in lqs}
    alone = [gt.name for gt in gts if gt.name not in by_name]
    if alone:
        there = _listed([clip.name for clip in lqs]) or "no clips"
        raise InputError(f"{lq_folder}: no low-quality clip for {_listed(alone)} of the ground truth (found: {there})")
    return [BenchmarkClip(gt.name, gt, by_name[gt.name]) for gt in gts]


def _of_set(wanted: BenchmarkSet, clips: Sequence[BenchmarkClip]) -> list[BenchmarkClip]:
    """Return the clips that belong to the set, where the folder also holds others."""
    by_name = {clip.name: clip for clip in clips}
    for names in wanted.clip_names:
        if all(name in by_name for name in names):
            return [by_name[name] for name in names]
    known = {name for names in wanted.clip_names for name in names}
    return [clip for clip in clips if clip.name in known] if known & by_name.keys() else list(clips)


def _refuse_partial(wanted: BenchmarkSet, data: Path, clips: Sequence[BenchmarkClip]) -> None:
    names = [clip.name for clip in clips]
    advice = "give the whole set, or --allow-partial to score what is there"
    if wanted.clip_names and not any(set(names) == set(known) for known in wanted.clip_names):
        best = max(wanted.clip_names, key=lambda known: len(set(known) & set(names)))
        lacking = [name for name in best if name not in names]
        if lacking:
            raise InputError(f"{data}: {wanted.title} without {_listed(lacking)} (found: {_listed(names)}); {advice}")
    if wanted.num_clips is not None and len(clips) != wanted.num_clips:
        raise InputError(
            f"{data}: {wanted.title} has {wanted.num_clips} clips, {len(clips)} are there ({_listed(names)}); {advice}"
        )
    if wanted.num_frames is None:
        return
    for clip in clips:
        source = clip.gt or clip.lq
        count = source.info.estimated_frames if source is not None else None
        if count is not None and count != wanted.num_frames:
            raise InputError(
                f"{data}: clips of {wanted.title} have {wanted.num_frames} frames, {clip.name} has {count}; {advice}"
            )


def _selected(clips: Sequence[BenchmarkClip], names: Sequence[str] | None) -> list[BenchmarkClip]:
    if names is None:
        return list(clips)
    there = {clip.name: clip for clip in clips}
    gone = [name for name in names if name not in there]
    if gone:
        raise OptionError(f"--clips: no clip {_listed(gone)}; there are {_listed(list(there))}")
    return [there[name] for name in dict.fromkeys(names)]


def _refuse_twins(data: Path, clips: Sequence[BenchmarkClip]) -> None:
    names = [clip.name for clip in clips]
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None:
        raise InputError(f"{data}: two clips are called {twin}: rename or remove one of them")


def _misplaced(wanted: BenchmarkSet, data: Path, what: str = "") -> str:
    about = f"{what}: " if what else ""
    return f"{data}: {about}not laid out as {wanted.title}: expected {wanted.expected()}; found {_content(data)}"


def _content(folder: Path) -> str:
    entries = sorted(e.name + "/" if e.is_dir() else e.name for e in folder.iterdir() if not e.name.startswith("."))
    return _listed(entries) or "an empty folder"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
