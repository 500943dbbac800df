"""Lists of clips in place of a folder: text, or a CSV with the columns ``gt`` and, optionally, ``lq`` and ``name``."""

from __future__ import annotations

import csv
from pathlib import Path

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.evaluation.clip_source import ClipSource

LIST_SUFFIXES = (".csv", ".txt")
_GT_COLUMNS = ("gt", "path", "video", "file")


def is_list(path: Path) -> bool:
    """Whether a path names a list of clips."""
    return path.suffix.lower() in LIST_SUFFIXES and not path.is_dir()


def read_list(path: Path) -> list[tuple[ClipSource, ClipSource | None]]:
    """Read the clips of a list: ground truth and, where the list names it, the low-quality clip.

    Paths are relative to the list. Text files have a path on each line; lines that begin with ``#`` do not count.

    Raises:
        InputNotFoundError: there is no such list, or it names a file that is not there.
        UnreadableInputError: it holds no paths.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputNotFoundError(f"{path}: there is no such list; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableInputError(f"{path}: cannot be read as a list of clips ({type(error).__name__})") from None
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _text_rows(text)
    clips = []
    for gt, lq, name in rows:
        found = [_existing(path, word) for word in (gt, lq) if word]
        label = name or found[0].stem if found[0].is_file() else name or found[0].name
        sources = [ClipSource(label, one) for one in found]
        clips.append((sources[0], sources[1] if lq else None))
    if not clips:
        raise UnreadableInputError(f"{path}: names no clip; write a path on each line, or a CSV with a column gt")
    return clips


def _csv_rows(path: Path, text: str) -> list[tuple[str, str, str]]:
    lines = csv.DictReader(text.splitlines())
    columns = {(name or "").strip().lower(): name for name in lines.fieldnames or []}
    column = next((columns[name] for name in _GT_COLUMNS if name in columns), None)
    if column is None:
        raise UnreadableInputError(
            f"{path}: has no column gt (found: {', '.join(columns) or 'none'}); name the column of the sharp clips gt, "
            "that of low-quality ones lq"
        )
    cells = [
        ((row.get(column) or "").strip(), *((row.get(columns.get(key, "")) or "").strip() for key in ("lq", "name")))
        for row in lines
    ]
    return [(gt, lq, name) for gt, lq, name in cells if gt]


def _text_rows(text: str) -> list[tuple[str, str, str]]:
    lines = [line.strip() for line in text.splitlines()]
    return [(line, "", "") for line in lines if line and not line.startswith("#")]


def _existing(path: Path, word: str) -> Path:
    found = path.parent / word
    if not found.exists():
        raise InputNotFoundError(f"{path} names {word}, and there is no such clip; paths are relative to the list")
    return found
