"""Prompts by T5 as CogVideoX reads them: 226 tokens, the padding is attended to, zeros stand for no prompt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from starvsr.errors import PromptTooLongError

LENGTH = 226
"""Tokens of a prompt, padding and end included."""


def encode_prompt(tokenizer: Any, encoder: Any, text: str, *, length: int = LENGTH) -> Tensor:
    """Return the encoding of a prompt, [1, length, width] of the encoder's number type, on its device.

    Args:
        tokenizer: T5 tokenizer of transformers.
        encoder: T5EncoderModel.
        text: The prompt, taken as it is; it may be empty.
        length: Tokens to fill up to.

    Raises:
        PromptTooLongError: The prompt has more tokens than that.
    """
    count = len(tokenizer(text, add_special_tokens=True).input_ids)
    if count > length:
        raise PromptTooLongError(text, count, length)
    ids = tokenizer(text, padding="max_length", max_length=length, add_special_tokens=True, return_tensors="pt")
    with torch.inference_mode():
        encoded: Tensor = encoder(ids.input_ids.to(encoder.device), return_dict=False)[0]
    return encoded.clone()


def unconditional(text: Tensor) -> Tensor:
    """Return the encoding that stands for no prompt: zeros, as in the training of STAR."""
    return torch.zeros_like(text)
