"""Text to token ids: the byte-pair encoding of CLIP, read from a table of merges.

The table is `merges.txt` as published with the text encoders, or the older `bpe_simple_vocab_16e6.txt.gz`; it is
fetched with the weights. The ids follow from the order of its lines, so no second file is needed.

Source: CLIP (arXiv 2103.00020); byte-level alphabet of GPT-2. Deviation from OpenCLIP: text is not searched for
encoding accidents (that takes a library of its own); what well-formed text needs of it is done here.
"""

from __future__ import annotations

import gzip
import html
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from starvsr.errors import WeightsError

CONTEXT_LENGTH = 77
NUM_MERGES = 48_894
START, END = 49_406, 49_407
MAX_TOKENS = CONTEXT_LENGTH - 2
"""Tokens of text that fit between start and end."""

_WORD_END = "</w>"
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\ufb01": "fi", "\ufb02": "fl"})


class Tokenizer:
    """Turns text into the token ids of CLIP."""

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        """Build from merges in order of their rank; :meth:`read` gets them from a file."""
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        letters = list(byte_letters().values())
        symbols = [*letters, *(letter + _WORD_END for letter in letters), *(a + b for a, b in merges)]
        self._ids = {symbol: number for number, symbol in enumerate(symbols)}
        self._pieces_of = lru_cache(maxsize=4096)(self._merge)

    @classmethod
    def read(cls, path: Path) -> Tokenizer:
        """Read a table of merges, plain or gzipped.

        Raises:
            WeightsError: the file is missing, damaged, or not CLIP's table.
        """
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
        except FileNotFoundError as error:
            raise WeightsError(f"no token table at {path}: fetch the text encoder again") from error
        except (OSError, EOFError, ValueError) as error:
            raise WeightsError(f"cannot read the token table {path}: {error}; fetch the text encoder again") from error
        pairs = [tuple(line.split()) for line in text.split("\n")[1 : NUM_MERGES + 1]]  # the first line is a title
        merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
        if len(merges) != NUM_MERGES:
            raise WeightsError(
                f"{path} is not CLIP's token table: it has {len(merges)} merges of {NUM_MERGES}; "
                "fetch the text encoder again"
            )
        return cls(merges)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without start and end, as many as there are."""
        ids: list[int] = []
        for word in split_words(clean(text)):
            letters = byte_letters()
            ids += (
                self._ids[piece]
                for piece in self._pieces_of("".join(letters[b] for b in word.encode("utf-8", "replace")))
            )
        return ids

    def context_ids(self, text: str) -> list[int]:
        """Return what the text encoder reads: 77 ids; start, text, end, then zeros. A longer text is cut."""
        ids = [START, *self.encode(text)[:MAX_TOKENS], END]
        return ids + [0] * (CONTEXT_LENGTH - len(ids))

    def _merge(self, word: str) -> tuple[str, ...]:
        """Join the letters of a word by the merges, those of lowest rank first."""
        pieces = [*word[:-1], word[-1] + _WORD_END]
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            joined: list[str] = []
            for piece in pieces:
                if joined and (joined[-1], piece) == best:
                    joined[-1] += piece
                else:
                    joined.append(piece)
            pieces = joined
        return tuple(pieces)


def clean(text: str) -> str:
    """Bring text to the form that is tokenised: composed, straight quotes, entities read, one space, lower case."""
    plain = unicodedata.normalize("NFC", _full_width_to_plain(text.translate(_PLAIN)))
    return " ".join(html.unescape(html.unescape(plain)).split()).lower()


def split_words(text: str) -> list[str]:
    """Cut cleaned text into words: contractions, runs of letters, single digits, runs of anything else."""
    words, position = [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        length = next((len(c) for c in _CONTRACTIONS if text.startswith(c, position)), 0) or _run(text, position)
        words.append(text[position : position + length])
        position += length
    return words


def _run(text: str, start: int) -> int:
    """Length of the run of one kind of character that begins at ``start``; numbers stand alone."""
    kind = _kind(text[start])
    stop = start + 1
    while kind != "N" and stop < len(text) and _kind(text[stop]) == kind:
        stop += 1
    return stop - start


def _kind(letter: str) -> str:
    if letter.isspace():
        return " "
    major = unicodedata.category(letter)[0]
    return major if major in "LN" else "other"


def _full_width_to_plain(text: str) -> str:
    """Replace the full-width forms of ASCII, as East Asian keyboards write them."""
    return "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)


@lru_cache(maxsize=1)
def byte_letters() -> dict[int, str]:
    """Return a printable letter for each of the 256 bytes, in the order in which ids are given to them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
