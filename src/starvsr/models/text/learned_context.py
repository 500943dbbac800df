"""The learned context of the cross attentions: star-small has no text encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LearnedContext(nn.Module):
    """A context that is trained like any other weight, instead of an encoded prompt."""

    def __init__(self, num_tokens: int, width: int) -> None:
        """Build ``num_tokens`` tokens of ``width`` features."""
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(num_tokens, width) * 0.5)

    def forward(self, batch: int) -> Tensor:
        """Return the context [batch, num_tokens, width]."""
        return self.tokens.expand(batch, -1, -1)
