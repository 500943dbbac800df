"""Text that people wrote about clips: a file for each clip, or one with a line for each. UTF-8."""

from __future__ import annotations

import codecs
import re
import stat
import unicodedata
from pathlib import Path

from starvsr.errors import PromptError

MAX_FILE_BYTES = 16 << 20
MAX_CHARACTERS = 10_000
"""Characters of one text: text encoders read a few hundred words."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Read the text of one clip.

    Args:
        path: UTF-8 text, with or without a byte order mark; lines may end in CRLF.

    Returns:
        The text in one line, "" where there is nothing but white space.

    Raises:
        PromptError: The file cannot be read, is not text in UTF-8, or is too long.
    """
    return one_line(_decoded(path), str(path))


def read_lines(path: Path) -> list[str]:
    """Read the texts of several clips, one in each line; empty lines at the end do not count.

    Args:
        path: As for `read_text`.

    Raises:
        PromptError: The file cannot be read, is not text in UTF-8, or a line is too long.
    """
    lines = re.split(r"\r\n|\n|\r", _decoded(path))
    texts = [one_line(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def one_line(text: str, where: str) -> str:
    """Return a text in one line, with single spaces.

    Args:
        text: The text.
        where: What holds it, for messages.

    Raises:
        PromptError: It is too long, or holds control characters.
    """
    line = " ".join(text.split())
    if len(line) > MAX_CHARACTERS:
        raise PromptError(
            f"{where}: {len(line)} characters are no description of a clip: give at most {MAX_CHARACTERS}"
        )
    for char in line:
        if unicodedata.category(char) in ("Cc", "Cs"):
            raise PromptError(f"{where}: not text: it holds the control character {ord(char):#04x}; remove it")
    return line


def _decoded(path: Path) -> str:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise PromptError(f"{path}: not a file: give a text file in UTF-8")
        if about.st_size > MAX_FILE_BYTES:
            raise PromptError(f"{path}: too large for a file of texts ({about.st_size} bytes): check the name")
        content = path.read_bytes()
    except OSError as error:
        raise PromptError(f"{path}: cannot be read ({error.strerror}); check the name and its permissions") from None
    if content.startswith(_UTF_16):
        raise PromptError(f"{path}: text in UTF-16: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PromptError(
            f"{path}: not UTF-8 (line {line} holds the byte {content[error.start]:#04x}, as Latin-1 and Windows-1252 "
            "do): save it as UTF-8"
        ) from None
