"""Working in pieces gives what working on the whole gives; text is read once; inputs stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from starvsr.models.chunking import WHOLE, cuts, frame_cuts, frozen_norm
from starvsr.models.star.attention import Attention, TextContext
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet

CONFIG = StarUNetConfig(
    width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(4, 4), dropout=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> StarUNet:
    torch.manual_seed(0)
    network = StarUNet(CONFIG).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network


def _inputs(batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, hint = torch.randn(2, batch, 4, 5, 10, 8, generator=generator)
    return x, torch.tensor([3, 700][:batch]), torch.randn(batch, 5, 24, generator=generator), hint


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("max_elements", [1, 3000, 20_000, WHOLE])
def test_pieces_of_any_size_agree_with_the_plain_way(network: StarUNet, batch: int, max_elements: int) -> None:
    x, t, context, hint = _inputs(batch)
    plain = network(x, t, context, hint).detach()  # with gradients nothing is cut
    network.budget.max_elements = max_elements
    kept = x.clone(), hint.clone(), context.clone()
    with torch.no_grad():
        pieces = network(x, t, context, hint)
    network.budget.max_elements = WHOLE
    assert (pieces - plain).abs().max() < 1e-5 * plain.abs().max().clamp(min=1)
    assert all(torch.equal(a, b) for a, b in zip((x, hint, context), kept, strict=True))


@pytest.mark.parametrize("max_elements", [3000, WHOLE])
def test_a_text_is_read_once_and_means_the_same(network: StarUNet, max_elements: int) -> None:
    x, t, context, hint = _inputs(2)
    network.budget.max_elements = max_elements
    readers = [
        module for module in network.modules() if isinstance(module, Attention) and module.to_k.in_features == 24
    ]
    calls: list[int] = []
    hooks = [reader.to_k.register_forward_hook(lambda *_: calls.append(1)) for reader in readers]
    with torch.inference_mode():
        plain = network(x, t, context, hint)
        calls.clear()
        text = TextContext(context)
        first = network(x, t, text, hint)
        assert len(calls) == len(readers) > 2
        assert torch.equal(network(x, t, text, hint), first)
        assert len(calls) == len(readers)
        torch.testing.assert_close(first, plain, atol=1e-6, rtol=1e-5)
    for hook in hooks:
        hook.remove()
    network.budget.max_elements = WHOLE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_frozen_norm_knows_the_whole_clip(dtype: torch.dtype) -> None:
    norm = nn.GroupNorm(4, 8).to(dtype)
    nn.init.normal_(norm.weight)
    clip = (torch.randn(2, 8, 3, 6, 5, generator=torch.Generator().manual_seed(2)) * 3 + 1).to(dtype)
    with torch.no_grad():
        normed = frozen_norm(norm, clip, max_elements=100)
        assert normed is not norm
        found = torch.cat([normed(clip[..., rows, :]) for rows in cuts(6, 1, 2)], dim=3)
        wanted = norm.float()(clip.float())
    tolerance = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=tolerance)


def test_pieces_stay_within_their_clip() -> None:
    pieces = frame_cuts(6, 3, 10, 20)
    assert [(p.start, p.stop, c.start, c.stop) for p, c in pieces] == [
        (0, 2, 0, 1), (2, 3, 0, 1), (3, 5, 1, 2), (5, 6, 1, 2),
    ]  # fmt: skip
    assert frame_cuts(6, 3, 10, 60) == [(slice(0, 6), slice(0, 2))]
