"""Send drawn inputs through everything but a network and have other programs compare what comes out.

    python -m benchmarks.reliability.exactness --examples 500 [--seed 1] [--only WORDS] [--tally FILE] [--write
            docs/reliability.md]

Runs the properties of tests/video/exactness (any container, codec, rate, pattern of times, pixel format, stream, tag)
and counts the inputs tried and those for which the property held. Outputs are judged by PyAV's own calls and by the
FFmpeg program of imageio-ffmpeg, not by the package's reader. The same seed draws the same inputs; with ``--tally``,
calls with different seeds add up to one table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.marked import replace_marked
from tests.video.exactness.properties import PROPERTIES, Property

BEGIN, END = "<!-- exactness:begin -->", "<!-- exactness:end -->"
_THEMES = ("times", "clocks", "pictures", "shapes", "companions", "images", "photo_kinds")

Tally = dict[str, tuple[int, int]]
"""Inputs tried and held, by title."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the properties; the exit status is 1 if one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=500, help="inputs in all (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="draws other inputs (default: 1)")
    parser.add_argument("--only", default="", help="only properties with these words in their title")
    parser.add_argument("--tally", type=Path, metavar="FILE", help="add up with what earlier calls left here")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"put the table between {BEGIN} and {END}")
    options = parser.parse_args(words)
    chosen = [entry for entry in load_properties() if options.only in entry.title]
    failures: list[str] = []
    tally = read_tally(options.tally)
    for title, counts in run(chosen, options.examples, options.seed, failures):
        tally = add(tally, {title: counts})
        if options.tally is not None:
            options.tally.write_text(json.dumps(tally, indent=1))
    print(table(tally))
    for failure in failures:
        print(f"did not hold: {failure}")
    if options.write is not None:
        replace_marked(options.write, BEGIN, END, table(tally))
    return 1 if failures else 0


def load_properties() -> list[Property]:
    """Give the properties of all themes, in their order."""
    for theme in _THEMES:
        importlib.import_module(f"tests.video.exactness.test_{theme}")
    return list(PROPERTIES.values())


def run(
    chosen: Sequence[Property], examples: int, seed: int, failures: list[str]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Share the examples out among the properties, as their slow tests do; yield what each has tried and held."""
    whole = sum(entry.many for entry in chosen)
    for entry in chosen:
        began, before = time.monotonic(), len(failures)
        tried = entry.run(max(1, round(examples * entry.many / whole)), seed=seed, failures=failures)
        print(f"{entry.title}: {tried} in {time.monotonic() - began:.0f} s", flush=True)
        yield entry.title, (tried, tried - (len(failures) - before))


def add(one: Tally, other: Tally) -> Tally:
    """Add two tallies up."""
    pairs = {title: (one.get(title, (0, 0)), other.get(title, (0, 0))) for title in {**one, **other}}
    return {title: (a[0] + b[0], a[1] + b[1]) for title, (a, b) in pairs.items()}


def read_tally(path: Path | None) -> Tally:
    """Read what earlier calls left; nothing if there were none."""
    if path is None or not path.exists():
        return {}
    return {title: (tried, held) for title, (tried, held) in json.loads(path.read_text()).items()}


def table(tally: Tally) -> str:
    """Lay a tally out for a document."""
    rows = [f"| {title} | {tried} | {held} |" for title, (tried, held) in tally.items()]
    tried, held = (sum(counts[i] for counts in tally.values()) for i in (0, 1))
    rows.append(f"| together | {tried} | {held} |")
    return "\n".join(["| property | inputs tried | held |", "|---|---:|---:|", *rows])


if __name__ == "__main__":
    raise SystemExit(main())
