"""Compare a folder of golden files with this package: python -m tests.parity DIR [--slow] [--only NAME]."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections import Counter
from pathlib import Path

import torch

import tests.parity.cogvideox_method
import tests.parity.cogvideox_networks
import tests.parity.stablevsr
import tests.parity.stablevsr_eval
import tests.parity.stablevsr_training
import tests.parity.stablevsr_units
import tests.parity.star
import tests.parity.star_published
import tests.parity.star_training  # noqa: F401 - these register their checks
from tests.parity.checks import check_case
from tests.parity.golden import Case, read_folder


def main(arguments: list[str] | None = None) -> int:
    """Print one line per tensor; 0 if something was checked and nothing failed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of golden files (JSON with safetensors or npz)")
    parser.add_argument("--slow", action="store_true", help="also the full-size network (9 GB of memory, minutes)")
    parser.add_argument("--only", metavar="NAME", help="only cases of this name, such as schedule or sampler_*")
    parser.add_argument("--table", action="store_true", help="at the end, one row for each file as a Markdown table")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1, as the numbers were made)")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        print(f"{options.folder} is not a folder: give the folder that holds the golden files")
        return 1
    torch.set_num_threads(options.threads)
    counts: Counter[str] = Counter()
    table = ["| file | within tolerance | closest to its tolerance | error | tolerance |", "|---|---|---|---|---|"]
    for case in read_folder(options.folder):
        if options.only and not fnmatch.fnmatch(case.stem, options.only):
            continue
        check_case(case, slow=options.slow)
        for row in case.rows:
            print(row, flush=True)
            counts[row.status] += 1
        table.append(table_row(case))
    if options.table:
        print("\n".join(table))
    print(f"{counts['ok']} ok, {counts['FAIL']} failed, {counts['not checked']} not checked")
    if not counts["ok"] and not counts["FAIL"]:
        print("nothing could be checked")
    return int(counts["FAIL"] > 0 or counts["ok"] == 0)


def table_row(case: Case) -> str:
    """One row of the table: how much is within its tolerance, and what comes closest to its own."""
    done = [row for row in case.rows if row.status != "not checked"]
    good = sum(row.status == "ok" for row in done)
    measured = [row for row in done if row.error is not None and row.tolerance]
    if not measured:
        exact = "all exact" if done else "-"
        return f"| {case.stem} | {good} of {len(done)} | {exact} | | |"
    worst = max(measured, key=lambda row: (row.error or 0.0) / (row.tolerance or 1.0))
    return f"| {case.stem} | {good} of {len(done)} | {worst.name} | {worst.error:.1e} | {worst.tolerance:.1e} |"


if __name__ == "__main__":
    sys.exit(main())
