"""How many results of a benchmark pass for shifted, in their place and moved by whole pixels.

    python -m benchmarks.quality.shift_checks OUT [--shifts 0 1 2] [--models NAME ...]

OUT is what `starvsr benchmark` left, with the folders ``gt`` and ``results``. Each result is judged beside its ground
truth as before scoring, but for shifts in time: refused, remarked on, or neither. For a shift, both are cut so that the
result lies to the right of the ground truth by so many pixels.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from starvsr.errors import InputError
from starvsr.evaluation.alignment import central_luma
from starvsr.evaluation.survey import sample_indices
from starvsr.evaluation.verdicts import Sample, judge
from starvsr.metrics.metric import ByteArray
from starvsr.video.codec_pass import read_clip

VERDICTS = ("refused", "remarked on", "neither")


def verdict(hq: ByteArray, gt: ByteArray, shift: int) -> str:
    """Return what is said of a result that is moved by some pixels against its ground truth, both [T, H, W, 3]."""
    width = gt.shape[2]
    hq, gt = hq[:, :, : width - shift], gt[:, :, shift:]
    samples = [Sample(central_luma(hq[at]), central_luma(gt[at])) for at in sorted(sample_indices(len(gt)))]
    try:
        found = judge("clip", samples)
    except InputError:
        return "refused"
    return "remarked on" if any("shift" in warning for warning in found.warnings) else "neither"


def table(out: Path, models: Sequence[str], shifts: Sequence[int]) -> list[str]:
    """Return a Markdown table of the numbers of results, a row for each model and shift."""
    lines = [f"| results of | moved by | {' | '.join(VERDICTS)} |", "|---|---|---|---|---|"]
    for model in models:
        counts: dict[int, Counter[str]] = {shift: Counter() for shift in shifts}
        for path in sorted((out / "results" / model).glob("*.mkv")):
            (truth,) = (out / "gt").glob(f"{path.stem}*")
            hq, gt = read_clip(path), read_clip(truth)
            for shift in shifts:
                counts[shift][verdict(hq, gt, shift)] += 1
        for shift, found in counts.items():
            lines.append(f"| {model} | {shift} px | {' | '.join(str(found[word]) for word in VERDICTS)} |")
            print(lines[-1], flush=True)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--shifts", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", help="folders of OUT/results (default: all)")
    given = parser.parse_args(arguments)
    models = given.models or sorted(path.name for path in (given.out / "results").iterdir() if path.is_dir())
    print("\n".join(table(given.out, models, given.shifts)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
