"""The texts that the published STAR reads: the user's words, praise appended to them, and what is not wanted."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from starvsr.errors import PromptTooLongError
from starvsr.models.text.clip_encoder import TextTower
from starvsr.models.text.clip_tokenizer import MAX_TOKENS, Tokenizer

USER_PROMPT = "a good video"
"""The prompt when the user gives none."""

# the checkpoints were run with exactly these, the double spaces included
POSITIVE_PROMPT = (
    "Cinematic, High Contrast, highly detailed, taken using a Canon EOS R camera,   hyper detailed photo - "
    "realistic maximum detail, 32k, Color Grading, ultra HD, extreme meticulous detailing,  skin pore detailing, "
    "hyper sharpness, perfect without deformations."
)
NEGATIVE_PROMPT = (
    "painting, oil painting, illustration, drawing, art, sketch, oil painting, cartoon, CG Style, 3D render, "
    "unreal engine, blurring, dirty, messy, worst quality, low quality, frames, watermark, signature, jpeg artifacts, "
    "deformed, lowres, over-smooth"
)

PromptJoin = Literal["fit", "released"]


def join_prompts(user: str, tokenizer: Tokenizer, join: PromptJoin = "fit") -> str:
    """Append the positive prompt to the user's words.

    Args:
        user: The user's words.
        tokenizer: Counts the tokens; 75 fit.
        join: "fit" sets a comma between the two and leaves off as many of the last phrases of the positive prompt as
            the user's words need. "released" sets nothing between ("a good videoCinematic, ...", which is read as
            other words) and lets the end of the positive prompt be cut.

    Raises:
        PromptTooLongError: the user's words alone do not fit.
    """
    check_length(user, tokenizer)
    if join == "released":
        return user + POSITIVE_PROMPT
    phrases = [phrase.strip() for phrase in POSITIVE_PROMPT.rstrip(".").split(",")]
    while phrases and len(tokenizer.encode(", ".join([user, *phrases]))) > MAX_TOKENS:
        phrases.pop()
    return ", ".join([user, *phrases])


def check_length(text: str, tokenizer: Tokenizer, name: str = "--prompt") -> None:
    """Refuse a text whose end the text encoder would not see.

    Raises:
        PromptTooLongError: it has more tokens than fit.
    """
    count = len(tokenizer.encode(text))
    if count > MAX_TOKENS:
        raise PromptTooLongError(text, count, MAX_TOKENS, name)


def encode_prompts(
    tower: TextTower, tokenizer: Tokenizer, prompt: str | None, negative_prompt: str | None, join: PromptJoin = "fit"
) -> tuple[Tensor, Tensor]:
    """Return the contexts [1, 77, D] of the prompt, joined with the positive prompt, and of the negative prompt.

    Args:
        tower: The text encoder.
        tokenizer: Its tokenizer.
        prompt: The user's words; None for ``USER_PROMPT``.
        negative_prompt: What is not wanted; None for ``NEGATIVE_PROMPT``.
        join: See :func:`join_prompts`.

    Raises:
        PromptTooLongError: a text does not fit.
    """
    positive = join_prompts(USER_PROMPT if prompt is None else prompt, tokenizer, join)
    negative = NEGATIVE_PROMPT if negative_prompt is None else negative_prompt
    check_length(negative, tokenizer, "--negative-prompt")
    device = tower.positional_embedding.device
    with torch.inference_mode():
        first, second = (tower(torch.tensor([tokenizer.context_ids(t)], device=device)) for t in (positive, negative))
    return first, second
