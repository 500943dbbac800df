"""Words on the terminal: what comes from a file or its name is shown, never obeyed."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import click

_HARMLESS = "\u200c\u200d\u00ad"  # joiners and the soft hyphen: parts of words in many scripts


def printable(text: str) -> str:
    r"""Write control characters out (``\x1b``), so that a tag or a name cannot steer the terminal.

    The same goes for characters that turn the direction of writing, line separators, and bytes of names that are
    no text.
    """
    return "".join(char.encode("unicode_escape").decode() if _is_control(char) else char for char in text)


def json_text(value: Any) -> str:
    """Write JSON that keeps letters of all scripts and escapes control characters."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(json.dumps(char)[1:-1] if char != "\n" and _is_control(char) else char for char in text)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a line, with control characters written out."""
    click.echo(printable(text), err=err)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _HARMLESS
