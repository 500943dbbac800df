"""Replace the text between two marks in a document."""

from __future__ import annotations

from pathlib import Path


def replace_marked(path: Path, begin: str, end: str, text: str) -> None:
    """Put ``text`` between the lines ``begin`` and ``end`` of a file.

    Raises:
        SystemExit: a mark is missing.
    """
    before = path.read_text(encoding="utf-8")
    if begin not in before or end not in before:
        raise SystemExit(f"{path} has no lines {begin} and {end}: add them where the text belongs")
    head, rest = before.split(begin, 1)
    tail = rest.split(end, 1)[1]
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")
