"""Texts of clips: encodings as editors write them, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from starvsr.data.synthetic import read_caption
from starvsr.data.text_files import MAX_CHARACTERS, read_lines, read_text
from starvsr.errors import PromptError


@pytest.mark.parametrize(
    "content",
    [
        b"a caf\xc3\xa9 at night",
        b"\xef\xbb\xbfa caf\xc3\xa9 at night\r\n",
        b"a caf\xc3\xa9\r\nat night\r\n\r\n",
        b"\n  a caf\xc3\xa9\tat\xc2\xa0night ",
    ],
)
def test_a_text_is_one_line_whatever_marks_and_line_ends_it_has(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "clip.txt"
    file.write_bytes(content)
    assert read_text(file) == "a café at night" == read_caption(file)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_are_those_that_editors_show(tmp_path: Path, ends: str) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes(ends.join(["\ufeffone", "", " two\x85and\u2028more ", "", " "]).encode())
    assert read_lines(file) == ["one", "", "two and more"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("ein Café".encode("latin-1"), "line 1 holds the byte 0xe9, as Latin-1"),
        (b"one\ntwo\nna\xefve\n", "line 3 holds the byte 0xef"),
        ("a barn".encode("utf-16"), "UTF-16: save it as UTF-8"),
        (b"a\x00barn", "control character 0x00"),
        (b"\x1b[31mred", "control character 0x1b"),
        (b"x" * (MAX_CHARACTERS + 1), f"at most {MAX_CHARACTERS}"),
    ],
)
def test_what_is_no_text_in_utf_8_is_refused_with_its_name(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "my clip.txt"
    file.write_bytes(content)
    for read in (read_text, read_lines):
        with pytest.raises(PromptError, match=r"my clip\.txt") as refused:
            read(file)
        assert told in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("pipe.txt", "missing.txt", "."):
        with pytest.raises(PromptError, match=r"not a file|cannot be read"):
            read_text(tmp_path / name)
