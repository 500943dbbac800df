"""The folder of a report: `report.json`, `scores.csv`, `scores.md`, `scores.tex`, `index.html` and `previews/`.

It appears under its name only when it is whole; a report that is replaced stays until then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starvsr.errors import OptionError, OutputExistsError
from starvsr.evaluation.record import REPORT_NAME, Report
from starvsr.evaluation.tables import to_csv, to_latex, to_markdown
from starvsr.video.write.publish import as_output_error, check_parent, discard, partial_path, publish


def check_report_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a place where no report can be, before any work is done.

    Raises:
        OutputExistsError: a report is there and ``overwrite`` is False, or the folder holds other things.
        OptionError: it is a file.
        OutputNotWritableError: its parent is missing or closed to us.
    """
    if folder.is_file():
        raise OptionError(f"{folder}: a file; a report is a folder: give another name")
    check_parent(Path(os.path.abspath(folder)))
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / REPORT_NAME).is_file():
        raise OutputExistsError(f"{folder}: the folder holds other files, it is not replaced; choose a new name")
    if not overwrite:
        raise OutputExistsError(f"{folder}: a report is there already; use --overwrite, or choose another name")


@contextmanager
def report_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write a report into; it gets its name when the block ends well, and goes when it does not.

    Raises:
        OutputError: the system refuses.
    """
    target = Path(os.path.abspath(folder))
    partial = partial_path(target)
    try:
        partial.mkdir()
        yield partial
        publish(partial, target)
    except OSError as error:
        raise as_output_error(folder, error) from None
    finally:
        discard(partial)


def write_tables(report: Report, folder: Path) -> None:
    """Write the record and its tables into a folder."""
    for name, text in (
        (REPORT_NAME, report.to_json()),
        ("scores.csv", to_csv(report)),
        ("scores.md", to_markdown(report)),
        ("scores.tex", to_latex(report)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
