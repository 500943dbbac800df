"""CLIP's byte-pair encoding: words, ids, what does not fit, tables that are none. The ids themselves: tests/parity."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from starvsr.errors import WeightsError
from starvsr.models.text.clip_tokenizer import END, MAX_TOKENS, START, Tokenizer, clean, split_words

MERGES = Path(__file__).parents[2] / "parity" / "data" / "clip_merges.txt.gz"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.read(MERGES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it's 5,000!", ["it", "'s", "5", ",", "0", "0", "0", "!"]),
        ("a-b  c_d", ["a", "-", "b", "c", "_", "d"]),
        ("we'll 'tis!!'s", ["we", "'ll", "'t", "is", "!!'", "s"]),
        ("½ ² x²", ["½", "²", "x", "²"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_cleaning() -> None:
    assert clean("  A\u00a0B &amp;amp;  C\n") == "a b & c"
    assert clean("e\u0301") == "é"
    assert clean("\u201cquoted\u201d \uff21\uff11") == '"quoted" a1'


def test_ids_of_known_words(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]  # CLIP's, as often quoted
    assert tokenizer.context_ids("")[:3] == [START, END, 0]


def test_any_text_can_be_encoded(tokenizer: Tokenizer) -> None:
    for text in ("你好 мир 🎬", "\x00\x07", "\ud800 lone surrogate", "\u0627\u0644\u0633\u0644\u0627\u0645"):
        ids = tokenizer.encode(text)
        assert ids and all(0 <= i < START for i in ids)


def test_a_long_text_is_cut_and_ends(tokenizer: Tokenizer) -> None:
    ids = tokenizer.context_ids("cat " * 200)
    assert len(ids) == 77 and ids[-1] == END and len(tokenizer.encode("cat " * 200)) == 200 > MAX_TOKENS


def test_plain_and_old_tables_are_read_alike(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = gzip.decompress(MERGES.read_bytes()).decode()
    (tmp_path / "merges.txt").write_text(text, encoding="utf-8")
    old = text.replace("#version: 0.2", '"bpe_simple_vocab_16e6.txt#version: 0.2') + "more merges</w>\n" * 1000
    (tmp_path / "old.gz").write_bytes(gzip.compress(old.encode(), 1))
    sentence = "Extreme meticulous detailing, naïve café 32k"
    for name in ("merges.txt", "old.gz"):
        assert Tokenizer.read(tmp_path / name).encode(sentence) == tokenizer.encode(sentence)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("#version: 0.2\nt h\nth e</w>\n")
    (tmp_path / "cut.gz").write_bytes(MERGES.read_bytes()[:5000])
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, word in (
        ("short.txt", "2 merges"),
        ("cut.gz", "cannot read"),
        ("bytes.txt", "cannot"),
        ("no", "no token"),
    ):
        with pytest.raises(WeightsError, match=word):
            Tokenizer.read(tmp_path / name)
