"""The two prompts and how the user's words are joined to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from starvsr.errors import OptionError
from starvsr.families.star_i2vgen.prompts import (
    NEGATIVE_PROMPT,
    POSITIVE_PROMPT,
    USER_PROMPT,
    encode_prompts,
    join_prompts,
)
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig
from starvsr.models.text.clip_tokenizer import MAX_TOKENS, Tokenizer

MERGES = Path(__file__).parents[2] / "parity" / "data" / "clip_merges.txt.gz"
LONG = "a grey cat with green eyes sits on a red sofa beside a window, soft morning light, dust in the air, close-up"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.read(MERGES)


def test_released_joins_without_a_separator_and_lets_the_end_be_cut(tokenizer: Tokenizer) -> None:
    assert join_prompts(USER_PROMPT, tokenizer, "released").startswith("a good videoCinematic, High")
    joined = join_prompts(LONG, tokenizer, "released")
    assert joined == LONG + POSITIVE_PROMPT and len(tokenizer.encode(joined)) > MAX_TOKENS


def test_fit_sets_a_comma_and_changes_no_word(tokenizer: Tokenizer) -> None:
    joined = join_prompts(USER_PROMPT, tokenizer)
    assert joined.startswith("a good video, Cinematic, High Contrast, ") and joined.endswith("deformations")
    words = tokenizer.encode(USER_PROMPT)
    assert tokenizer.encode(joined)[: len(words)] == words  # not so when nothing is set between
    assert tokenizer.encode(USER_PROMPT + POSITIVE_PROMPT)[: len(words)] != words


def test_fit_gives_up_praise_before_the_users_words(tokenizer: Tokenizer) -> None:
    joined = join_prompts(LONG, tokenizer)
    assert joined.startswith(LONG + ", Cinematic") and "deformations" not in joined
    assert len(tokenizer.encode(joined)) <= MAX_TOKENS
    full = "cat " * MAX_TOKENS
    assert join_prompts(full.strip(), tokenizer) == full.strip()


def test_words_that_do_not_fit_are_refused_not_cut(tokenizer: Tokenizer) -> None:
    with pytest.raises(OptionError, match="76 tokens"):
        join_prompts("cat " * (MAX_TOKENS + 1), tokenizer)
    with pytest.raises(OptionError, match="the text encoder reads 75"):
        join_prompts("cat " * (MAX_TOKENS + 1), tokenizer, "released")


def test_encoded_prompts(tokenizer: Tokenizer) -> None:
    tower = TextTower(TextTowerConfig(width=8, heads=2, blocks=1)).eval()
    positive, negative = encode_prompts(tower, tokenizer, None, None, "released")
    assert positive.shape == negative.shape == (1, 77, 8)
    with torch.no_grad():
        expected = tower(torch.tensor([tokenizer.context_ids(NEGATIVE_PROMPT)]))
    torch.testing.assert_close(negative, expected)
    assert torch.equal(encode_prompts(tower, tokenizer, None, None, "released")[0], positive)
    assert not torch.allclose(encode_prompts(tower, tokenizer, "a dog", "mud")[0], positive)
    with pytest.raises(OptionError, match="--negative-prompt"):
        encode_prompts(tower, tokenizer, None, "mud " * 80)
