"""Weights in 8 bits: how far off, how small, and that every layer still runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from starvsr.models.int8 import computing_dtype, packed_weights, quantize, to_int8, weight_bytes
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet

CONFIG = StarUNetConfig(
    width=64, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=5, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(4, 4), dropout=0.0,
)  # fmt: skip


def _network() -> StarUNet:
    torch.manual_seed(0)
    network = StarUNet(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return network


def _inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, hint = torch.randn(2, 1, 4, 3, 10, 8, generator=generator)
    return x, torch.tensor([500]), torch.randn(1, 5, 24, generator=generator), hint


@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 3, 3), (4, 4, 3, 1, 1)])
def test_no_weight_is_off_by_more_than_half_a_step(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape) * torch.logspace(-3, 2, shape[0]).view(-1, *([1] * (len(shape) - 1)))
    weight[0] = 0
    codes, scales = quantize(weight)
    each = scales.view(-1, *([1] * (len(shape) - 1)))
    assert codes.dtype == torch.int8 and codes.abs().max() <= 127
    assert ((codes * each - weight).abs() <= 0.5001 * each).all()
    assert (codes.flatten(1).abs().amax(1)[1:] == 127).all()  # each channel uses its whole range


def test_a_network_in_8_bits_is_a_quarter_and_nearly_the_same() -> None:
    network, inputs = _network(), _inputs()
    with torch.no_grad():
        exact, before = network(*inputs), weight_bytes(network)
        after = to_int8(network)
        rounded = network(*inputs)
    assert after == weight_bytes(network) < 0.29 * before
    error = ((rounded - exact).square().mean() / exact.square().mean()).sqrt()
    assert 1e-4 < error < 0.03


def test_what_is_computed_is_what_the_codes_say() -> None:
    network, inputs = _network(), _inputs()
    reference = _network()
    to_int8(network)
    layers = {name: layer for name, layer in network.named_modules() if parametrize.is_parametrized(layer, "weight")}
    assert len(layers) == len(list(packed_weights(network))) > 20
    for name, layer in layers.items():
        codes, scales = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        assert codes.dtype == torch.int8
        shape = (-1, *([1] * (codes.ndim - 1)))
        reference.get_submodule(name).weight = nn.Parameter(codes.float() * scales.view(shape))
    with torch.no_grad():
        torch.testing.assert_close(network(*inputs), reference(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_weights_survive_half_precision(dtype: torch.dtype) -> None:
    """Their scales would be zero in float16."""
    layer = nn.Linear(128, 64)
    nn.init.normal_(layer.weight, std=1e-6)
    network = nn.Sequential(layer.to(dtype))
    exact = layer.weight.detach().clone()
    with torch.no_grad():
        to_int8(network)
        assert layer.weight.dtype == computing_dtype(network) == dtype
        assert (layer.weight - exact).abs().max() < 0.02 * exact.abs().max()
