"""Blind test of upscalers: numbered sheets and clips of two results each, a key file apart, and the count of votes.

    python -m benchmarks.blind_sheets make OUT --results ours=FOLDER --results theirs=FOLDER [--gt FOLDER] [--lq FOLDER]
    python -m benchmarks.blind_sheets count OUT [VOTES.csv ...]

A folder of results holds one video (or folder of images) a clip; files belong together by name. `make` writes
OUT/sheets/001.png (A and B at 1:1 and enlarged three times), OUT/clips/001.mp4 (the same in motion) and OUT/votes.csv
to fill in: A, B or =. What was what is in OUT-key.json, beside the folder, so that the folder can be given away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmarks.quality.blind_trials import (
    Trial,
    count_votes,
    draw_trials,
    left_share,
    read_key,
    read_votes,
    steadiness,
    write_key,
)
from benchmarks.quality.contact_sheets import detailed_window, enlarge_nearest
from starvsr.data.synthetic import list_clips, read_images
from starvsr.errors import DataError, OptionError, StarVsrError
from starvsr.video.codec_pass import clip_frame_rate, read_clip, write_clip

ByteArray = npt.NDArray[np.uint8]

WHOLE_PX = (640, 480)
"""Largest window shown at 1:1, width and height."""
DETAIL_PX = (208, 160)
"""Window that is enlarged."""
ENLARGED = 3
_GAP, _LABEL = 12, 18
_DEFAULT_RATE = 25
_MOTION_CRF = 8


@dataclass(frozen=True)
class Shown:
    """The two results of a trial, uint8 [T, H, W, 3], and what helps to judge them; None where it is not at hand."""

    first: ByteArray
    second: ByteArray
    lq: ByteArray | None = None
    gt: ByteArray | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two commands."""
    options = _parser().parse_args(arguments)
    if options.command == "make":
        folders = dict(_named(word) for word in options.results)
        if len(folders) < len(options.results):
            raise OptionError("each --results needs a name of its own")
        trials = make(
            options.out, folders, gt=options.gt, lq=options.lq, against=options.against, seed=options.seed,
            repeats=options.repeats, show_gt=options.show_gt, num_frames=options.frames,
        )  # fmt: skip
        print(f"{len(trials)} trials in {options.out}; the key is {key_path(options.out)}: do not look before voting")
    else:
        print(count(options.out, options.votes or [options.out / "votes.csv"], options.key))


def make(
    out: Path,
    results: Mapping[str, Path],
    *,
    gt: Path | None = None,
    lq: Path | None = None,
    against: str | None = None,
    seed: int = 0,
    repeats: int = 0,
    show_gt: bool = False,
    num_frames: int | None = None,
) -> list[Trial]:
    """Write sheets, clips, an empty table of votes and the key.

    Args:
        out: a new folder.
        results: folder of results of each method.
        gt: folder of ground truths; says where detail is. Without it the results' mean does.
        lq: folder of inputs, shown as a third picture.
        against: only pairs with this method.
        seed: of order and sides.
        repeats: trials shown twice.
        show_gt: show the ground truth as well: then the question is likeness, not liking.
        num_frames: frames of each clip; None takes all.

    Raises:
        OptionError: the folder is not empty, or the choice of methods does not fit.
        DataError: a clip is missing somewhere, or results differ in size or length.
    """
    if out.exists() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty: sheets are numbered afresh, so they need a new folder")
    files = {name: _by_stem(folder) for name, folder in results.items()}
    extra = {name: _by_stem(folder) for name, folder in (("gt", gt), ("lq", lq)) if folder is not None}
    clips = sorted(set.intersection(*(set(found) for found in files.values())))
    lonely = sorted(set.union(*(set(found) for found in files.values())) - set(clips))
    missing = [clip for clip in clips for found in extra.values() if clip not in found]
    if lonely or missing or not clips:
        raise DataError(f"not every folder has {', '.join((lonely + missing)[:5]) or 'a clip'}: each needs all of them")
    trials = draw_trials(clips, list(results), seed=seed, against=against, repeats=repeats)
    (out / "sheets").mkdir(parents=True)
    (out / "clips").mkdir()
    for trial in trials:
        read = {name: _read(found[trial.clip], num_frames) for name, found in extra.items()}
        sides = [_read(files[method][trial.clip], num_frames) for method in (trial.first, trial.second)]
        shown = Shown(sides[0], sides[1], read.get("lq"), read.get("gt"))
        _check(trial, shown)
        rate = _frame_rate(files[trial.first][trial.clip])
        sheet(shown, trial.number, show_gt=show_gt).save(out / "sheets" / f"{trial.number:03d}.png")
        write_clip(out / "clips" / f"{trial.number:03d}.mp4", motion(shown), rate, crf=_MOTION_CRF)
    lines = "".join(f"{trial.number},\n" for trial in trials)
    (out / "votes.csv").write_text(f"number,choice\n{lines}", encoding="utf-8")
    write_key(key_path(out), trials, {"seed": seed, "results": {name: str(p) for name, p in results.items()}})
    return trials


def count(out: Path, ballots: Sequence[Path], key: Path | None = None) -> str:
    """Count votes and return a table.

    Raises:
        DataError: key or votes cannot be read, or there is no vote.
    """
    trials = read_key(key or key_path(out))
    votes = [read_votes(path, trials) for path in ballots]
    num_votes = sum(map(len, votes))
    if not num_votes:
        raise DataError(f"no votes in {', '.join(map(str, ballots))}: write A, B or = behind each number")
    lines = [f"{num_votes} votes of {len(votes)} voter{'s' * (len(votes) > 1)} on {len(trials)} sheets", ""]
    lines += ["| preferred | to | votes | no difference | clips | by chance |", "| --- | --- | --- | --- | --- | --- |"]
    for c in count_votes(trials, votes):
        ahead = c.wins >= c.losses
        names, tally = ((c.one, c.other), (c.wins, c.losses)) if ahead else ((c.other, c.one), (c.losses, c.wins))
        clips = c.clips if ahead else (c.clips[1], c.clips[0], c.clips[2])
        won = f"{clips[0]} : {clips[1]}" + (f", {clips[2]} even" if clips[2] else "")
        lines.append(f"| {names[0]} | {names[1]} | {tally[0]} : {tally[1]} | {c.ties} | {won} | {c.chance():.3f} |")
    same, repeated = steadiness(trials, votes)
    lines += ["", f"Left picture chosen in {left_share(votes):.0%} of decided votes."]
    if repeated:
        lines.append(f"Repeated trials decided alike: {same} of {repeated}.")
    return "\n".join(lines)


def key_path(out: Path) -> Path:
    """Return where the key of a folder of sheets lies: beside it."""
    return out.with_name(f"{out.name}-key.json")


def sheet(shown: Shown, number: int, *, show_gt: bool = False) -> Image.Image:
    """Draw one trial: A and B at 1:1, below them a detail three times as large, then the input and the ground truth."""
    middle = len(shown.first) // 2
    guide = shown.gt if shown.gt is not None else _mean(shown)
    pictures = {"A": shown.first[middle], "B": shown.second[middle]}
    if shown.lq is not None:
        pictures["input"] = enlarge_nearest(shown.lq[middle], len(guide[0]) // len(shown.lq[0]))
    if show_gt and shown.gt is not None:
        pictures["ground truth"] = shown.gt[middle]
    whole, detail = _windows(guide[middle])
    rows = [{name: p[whole] for name, p in pictures.items()}]
    rows.append({name: enlarge_nearest(p[detail], ENLARGED) for name, p in pictures.items()})
    return _drawn(rows, f"sheet {number}")


def motion(shown: Shown) -> ByteArray:
    """Lay A and B side by side as a clip, each at 1:1 above its enlarged detail."""
    guide = shown.gt if shown.gt is not None else _mean(shown)
    whole, detail = _windows(guide[len(guide) // 2])
    frames = []
    for a, b in zip(shown.first, shown.second, strict=True):
        top = _beside(a[whole], b[whole])
        below = _beside(*(enlarge_nearest(p[detail], ENLARGED) for p in (a, b)))
        frames.append(_stacked(top, below))
    return np.stack(frames)


def _windows(guide: ByteArray) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Choose the window at 1:1 and the detail, where the guide has most edges."""
    chosen = []
    for width, height in (WHOLE_PX, DETAIL_PX):
        left, top = detailed_window(guide, width, height)
        left, top = min(left, max(guide.shape[1] - width, 0)), min(top, max(guide.shape[0] - height, 0))
        chosen.append((slice(top, top + height), slice(left, left + width)))
    return chosen[0], chosen[1]


def _mean(shown: Shown) -> ByteArray:
    return ((shown.first.astype(np.uint16) + shown.second + 1) // 2).astype(np.uint8)


def _drawn(rows: Sequence[Mapping[str, ByteArray]], title: str) -> Image.Image:
    widths = [max(row[name].shape[1] for row in rows) for name in rows[0]]
    heights = [max(p.shape[0] for p in row.values()) for row in rows]
    size = (sum(widths) + _GAP * (len(widths) + 1), sum(heights) + (_LABEL + _GAP) * len(rows) + _LABEL)
    picture = Image.new("RGB", size, (96, 96, 96))
    draw = ImageDraw.Draw(picture)
    draw.text((_GAP, 3), title, fill="white")
    top = _LABEL
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for (name, pixels), width in zip(row.items(), widths, strict=True):
            draw.text((left, top + 3), name, fill="white")
            picture.paste(Image.fromarray(pixels), (left, top + _LABEL))
            left += width + _GAP
        top += height + _LABEL + _GAP
    return picture


def _beside(a: ByteArray, b: ByteArray) -> ByteArray:
    gap = np.full((len(a), _GAP, 3), 96, np.uint8)
    return np.concatenate([a, gap, b], axis=1)


def _stacked(top: ByteArray, below: ByteArray) -> ByteArray:
    """Stack two pictures, centred, with even sides, as the codec wants them."""
    width = max(top.shape[1], below.shape[1])
    width += width % 2
    height = top.shape[0] + _GAP + below.shape[0]
    frame = np.full((height + height % 2, width, 3), 96, np.uint8)
    for picture, row in ((top, 0), (below, top.shape[0] + _GAP)):
        left = (width - picture.shape[1]) // 2
        frame[row : row + len(picture), left : left + picture.shape[1]] = picture
    return frame


def _check(trial: Trial, shown: Shown) -> None:
    if shown.first.shape != shown.second.shape:
        raise DataError(
            f"{trial.clip}: {trial.pair[0]} and {trial.pair[1]} differ in size or length; compare results of one input"
        )
    if shown.gt is not None and shown.gt.shape != shown.first.shape:
        raise DataError(f"{trial.clip}: the ground truth has another size or length than the results")
    if shown.lq is not None and (
        len(shown.lq) != len(shown.first) or shown.first.shape[1] % shown.lq.shape[1] or shown.lq.shape[1] < 2
    ):
        raise DataError(f"{trial.clip}: the results are no whole multiple of the input in size, or of another length")


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in list_clips(folder)}


def _read(path: Path, num_frames: int | None) -> ByteArray:
    frames = read_images(path, num_frames) if path.is_dir() else read_clip(path, num_frames=num_frames)
    return np.asarray(frames, np.uint8)


def _frame_rate(path: Path) -> Fraction:
    return Fraction(_DEFAULT_RATE) if path.is_dir() else clip_frame_rate(path)


def _named(word: str) -> tuple[str, Path]:
    name, found, folder = word.partition("=")
    if not (name and found and folder):
        raise OptionError(f"--results {word!r} must read NAME=FOLDER")
    return name, Path(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("make", help="write sheets, clips and the key")
    made.add_argument("out", type=Path, help="a new folder")
    made.add_argument("--results", action="append", required=True, metavar="NAME=FOLDER", help="one for each method")
    made.add_argument("--gt", type=Path, help="folder of ground truths")
    made.add_argument("--lq", type=Path, help="folder of inputs, shown beside the results")
    made.add_argument("--show-gt", action="store_true", help="show the ground truth: then the question is likeness")
    made.add_argument("--against", help="only compare this method with the others")
    made.add_argument("--repeats", type=int, default=0, help="trials shown twice, to see how steady a voter is")
    made.add_argument("--frames", type=int, help="frames of each clip (default: all)")
    made.add_argument("--seed", type=int, default=0)
    counted = commands.add_parser("count", help="count votes")
    counted.add_argument("out", type=Path, help="the folder of sheets")
    counted.add_argument("votes", type=Path, nargs="*", help="tables of votes, one a voter (default: OUT/votes.csv)")
    counted.add_argument("--key", type=Path, help="the key (default: OUT-key.json)")
    return parser


if __name__ == "__main__":
    try:
        main()
    except StarVsrError as error:
        sys.exit(f"error: {error}")
