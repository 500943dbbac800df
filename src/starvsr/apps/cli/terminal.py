"""Words on the terminal: what comes from a file or its name is shown, never obeyed."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any

import click

from starvsr.apps.cli.standard_streams import silence, tell

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


def say(text: str) -> None:
    """Print a line on standard output beside the work; when it cannot be written, say so where errors go, once."""
    try:
        click.echo(printable(text))
        sys.stdout.flush()
    except (OSError, SystemExit) as error:  # click leaves the program when nobody reads on
        silence("stdout")
        if not isinstance(error, (BrokenPipeError, SystemExit)):
            remark(f"note: standard output cannot be written ({error.strerror})")


def remark(text: str) -> None:
    """Print a line on standard error beside the work, which goes on when nobody can read it."""
    tell(printable(text))


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _HARMLESS
