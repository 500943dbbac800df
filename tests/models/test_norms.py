"""GroupNorm in channels-last memory: the sums of torch's own, in the layout of the input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from starvsr.models.norms import GroupNormLast, _suits, group_norm_last
from starvsr.models.star.blocks import clip_view
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet


def _map(dtype: torch.dtype, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 64, 7, 5, generator=generator) * torch.linspace(0.1, 5, 64)[:, None, None] + shift
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),  # the mean is up to 30 standard deviations: 1e-7 of its square in the variance
    [(torch.float32, 1e-3), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)],
)
def test_it_is_the_norm_of_torch(dtype: torch.dtype, tolerance: float, clip: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(2, 64, generator=generator).to(dtype)
    features = clip_view(_map(dtype, 3.0), 3) if clip else _map(dtype, 3.0)
    with torch.no_grad():
        made = group_norm_last(features, 32, weight, bias, 1e-5)
    wanted = F.group_norm(features.float(), 32, weight.float(), bias.float(), 1e-5)
    assert made.dtype == dtype and made.stride() == features.stride()
    torch.testing.assert_close(made.float(), wanted, atol=tolerance, rtol=tolerance)
    assert (made.float() - wanted).square().mean().sqrt() < tolerance / 4


def test_constant_maps_and_single_positions() -> None:
    weight, bias = torch.ones(64), torch.full((64,), 0.5)
    flat = torch.full((2, 64, 3, 3), 7.0).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        group_norm_last(flat, 32, weight, bias, 1e-5), torch.full_like(flat, 0.5), atol=0.02, rtol=0
    )
    one = _map(torch.float32)[:, :, :1, :1]
    torch.testing.assert_close(
        group_norm_last(one, 32, weight, bias, 1e-5), F.group_norm(one, 32, weight, bias, 1e-5), atol=5e-3, rtol=5e-3
    )  # two values to a group


def test_which_maps_it_takes() -> None:
    half = _map(torch.float16)
    with torch.no_grad():
        assert _suits(half) and _suits(clip_view(half, 2)) and _suits(half.bfloat16())
        assert not _suits(half.float()) and not _suits(half.contiguous())
        with torch.autocast("cpu", torch.bfloat16):
            assert not _suits(half)  # there norms compute in float32
    assert not _suits(half)


def test_the_network_uses_it_and_keeps_its_names() -> None:
    with torch.device("meta"):
        network = StarUNet(StarUNetConfig(width=32, multipliers=(1,)))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert norms and all(isinstance(module, GroupNormLast) for module in norms)
    assert {name for name, _ in norms[0].named_parameters()} == {"weight", "bias"}
