"""Attention in windows, and the feed-forward in pieces."""

from __future__ import annotations

import pytest
import torch

from starvsr.models.star import attention
from starvsr.models.star.attention import Attention, FeedForward, attend_in_windows


def test_one_window_is_plain_attention() -> None:
    torch.manual_seed(0)
    attention, grid = Attention(16, 8).eval(), torch.randn(2, 9, 10, 16)
    with torch.no_grad():
        plain = attention(grid.flatten(1, 2)).view_as(grid)
        for window in (0, 8, 50):
            assert torch.allclose(attend_in_windows(attention, grid, window), plain, atol=1e-6)


def test_tokens_see_their_window_and_no_further() -> None:
    torch.manual_seed(0)
    attention, grid = Attention(16, 8).eval(), torch.randn(1, 8, 12, 16)
    changed = grid.clone()
    changed[:, 7, 11] += 3
    with torch.no_grad():
        difference = (attend_in_windows(attention, grid, 4) - attend_in_windows(attention, changed, 4)).abs().amax(-1)
    assert (difference[0, 4:, 8:] > 0).all()
    assert (difference[0, :4] == 0).all()
    assert (difference[0, :, :8] == 0).all()


def test_windows_cover_sizes_that_do_not_divide() -> None:
    torch.manual_seed(0)
    attention, grid = Attention(16, 8).eval(), torch.randn(1, 7, 11, 16)
    with torch.no_grad():
        out = attend_in_windows(attention, grid, 3)  # 2 x 4 windows
        top_left = attention(grid[:, :3, :2].flatten(1, 2)).view(1, 3, 2, 16)
    assert out.shape == grid.shape
    assert torch.allclose(out[:, :3, :2], top_left, atol=1e-6)


def test_feed_forward_in_pieces_equals_the_whole() -> None:
    torch.manual_seed(0)
    feed_forward, tokens = FeedForward(8), torch.randn(3, 2000, 8)
    whole = feed_forward(tokens)
    with torch.no_grad():
        assert torch.allclose(feed_forward(tokens), whole, atol=1e-6)


def test_a_batch_that_is_too_large_for_a_kernel_is_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, tokens, context = Attention(16, 8).eval(), torch.randn(11, 3, 16), torch.randn(11, 2, 16)
    with torch.no_grad():
        whole = [layer(tokens), layer(tokens, context)]
        sizes: list[int] = []
        kernel = torch.nn.functional.scaled_dot_product_attention

        def counted(query: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
            sizes.append(len(query))
            return kernel(query, *others)

        monkeypatch.setattr(attention, "LARGEST_BATCH", 4)
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
        parts = [layer(tokens), layer(tokens, context)]
    assert sizes == [4, 4, 3] * 2
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(whole, parts, strict=True))
