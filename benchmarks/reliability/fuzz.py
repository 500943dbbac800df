"""Give starvsr damaged and hostile files, and see that it refuses them with a message or does them within bounds.

    python -m benchmarks.reliability.fuzz --count 500 --seed 1 [--tally tally.json] [--write docs/reliability.md]

Each input goes through `starvsr info` and `starvsr upscale` (bicubic at scale 1) in a process that is forked from one
that has everything loaded, and that takes one input after the other, so that an input costs no start of Python. Judged
is each of these: the process dies by a signal; an exception that is not ours comes out; it takes too long; it takes too
much memory; it writes a file outside of the output folder, opens a connection or starts a program; an output lies under
its final name after a failure; the message has several lines or control characters. With ``--tally``, several calls
with different seeds add up to one table. For Linux.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from benchmarks.reliability.fuzz_cases import Source
from benchmarks.reliability.fuzz_victim import Victim
from benchmarks.reliability.torture import write_table

BEGIN, END = "<!-- fuzz:begin -->", "<!-- fuzz:end -->"
_INPUTS_EACH = 200  # then the process is replaced


@dataclass
class Row:
    """What happened with one kind of input."""

    kind: str
    tried: int = 0
    refused: int = 0
    completed: int = 0
    findings: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Give the cells of the table."""
        return [self.kind, *map(str, (self.tried, self.refused, self.completed, len(self.findings)))]


def fuzz(source: Source, numbers: range, folder: Path, *, seconds: float = float("inf")) -> dict[str, Row]:
    """Try inputs and return a row for each kind.

    Args:
        source: Makes them.
        numbers: Which ones.
        folder: Where they are tried; emptied again and again.
        seconds: Begin no further input after this.
    """
    rows: dict[str, Row] = {}
    began = time.monotonic()
    victim: Victim | None = None
    for number in numbers:
        if time.monotonic() - began > seconds:
            break
        if victim is None or victim.num_done >= _INPUTS_EACH:
            if victim is not None:
                victim.close()
            victim = Victim(source, folder)
        answer = victim.give(number)
        row = rows.setdefault(source.case(number).kind, Row(source.case(number).kind))
        row.tried += 1
        row.refused += answer["end"] == "refused"
        row.completed += answer["end"] == "completed"
        for finding in answer["findings"]:
            row.findings.append(f"{source.describe(number)}: {finding}")
            print(row.findings[-1], file=sys.stderr, flush=True)
        if answer["end"] == "died":
            victim.close()
            victim = None
    if victim is not None:
        victim.close()
    return rows


def replay(rows: dict[str, Row], source: Source, seed: int, folder: Path) -> None:
    """Try the damaged files again in which something was found; what is not found again is no longer open."""
    for row in rows.values():
        numbers = {
            int(hit.group(1)) for text in row.findings if (hit := re.match(rf"seed {seed}, number (\d+):", text))
        }
        for number in sorted(numbers):
            again = fuzz(source, range(number, number + 1), folder)
            still = [text for found in again.values() for text in found.findings]
            prefix = f"{source.describe(number)}:"
            row.findings = [text for text in row.findings if not text.startswith(prefix)] + still


def merge(rows: dict[str, Row], more: dict[str, Row]) -> dict[str, Row]:
    """Add up two runs."""
    total = {kind: Row(**asdict(row)) for kind, row in rows.items()}
    for kind, row in more.items():
        here = total.setdefault(kind, Row(kind))
        here.tried += row.tried
        here.refused += row.refused
        here.completed += row.completed
        here.findings += row.findings
    return total


def as_table(rows: dict[str, Row]) -> str:
    """Write the rows as a table, with a sum below."""
    heads = ["input", "tried", "refused with a message", "completed", "open findings"]
    whole = Row("**all**")
    for row in rows.values():
        whole.tried += row.tried
        whole.refused += row.refused
        whole.completed += row.completed
        whole.findings += row.findings
    ordered = [rows[kind] for kind in sorted(rows)] + [whole]
    lines = [heads, ["---"] * len(heads), *(row.cells() for row in ordered)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="inputs to try (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: 0)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further input after this")
    parser.add_argument("--tally", type=Path, metavar="FILE", help="add up with what earlier calls left here")
    parser.add_argument("--again", action="store_true", help="only try again what --tally says was found with --seed")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the inputs there and try none")
    parser.add_argument("--folder", type=Path, help="where inputs are tried (default: a temporary folder)")
    return parser


def main() -> int:
    """Run the bench; the exit code is 1 when something was found."""
    words = _parser().parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=words.folder) as name:
        folder = Path(name)
        for part in ("seeds", "work"):
            (folder / part).mkdir()
        source = Source(folder / "seeds", words.seed)
        if words.save is not None:
            for case in map(source.case, range(words.first, words.first + words.count)):
                (words.save / f"{case.number}_{case.name}").write_bytes(case.data)
            return 0
        if words.again:
            rows = {kind: Row(**row) for kind, row in json.loads(words.tally.read_text()).items()}
            replay(rows, source, words.seed, folder / "work")
            words.tally.write_text(json.dumps({kind: asdict(row) for kind, row in rows.items()}, indent=1))
            print(as_table(rows))
            return 0
        rows = fuzz(source, range(words.first, words.first + words.count), folder / "work", seconds=words.seconds)
    found = any(row.findings for row in rows.values())
    if words.tally is not None:
        if words.tally.exists():
            rows = merge({kind: Row(**row) for kind, row in json.loads(words.tally.read_text()).items()}, rows)
        words.tally.write_text(json.dumps({kind: asdict(row) for kind, row in rows.items()}, indent=1))
    table = as_table(rows)
    print(table)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if words.write is not None:
        write_table(words.write, table, (BEGIN, END))
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
