"""The convolution with ReLU is that of the two plain operations, fused or not; padding is by zeros, where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models import relu_convolution, winograd
from starvsr.models.relu_convolution import ReluConvolution

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture
def forgotten() -> Iterator[None]:
    relu_convolution._is_fused.cache_clear()
    yield
    relu_convolution._is_fused.cache_clear()


def _layer(channels: int, out_channels: int) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(channels, out_channels, 3, padding=1)


def _pictures(channels: int, dtype: torch.dtype) -> Tensor:
    values = torch.randn(2, channels, 9, 11, generator=torch.Generator().manual_seed(2))
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("above", "below"), [(1, 1), (0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("channels", [3, 32])
def test_is_relu_of_the_convolution(dtype: torch.dtype, above: int, below: int, channels: int) -> None:
    layer, pictures = _layer(channels, 24), _pictures(channels, dtype)
    with torch.inference_mode():
        got = ReluConvolution(layer, dtype)(pictures, above=above, below=below)
        kernel, bias = (values.to(dtype).double() for values in (layer.weight, layer.bias))
        wanted = F.conv2d(F.pad(pictures.double(), (1, 1, above, below)), kernel, bias).clamp(min=0)
    assert got.dtype == dtype and got.is_contiguous(memory_format=torch.channels_last)
    assert (wanted == 0).any() and wanted.max() > 1
    torch.testing.assert_close(got.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_without_the_fused_operation_the_plain_ones_are_used(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def fails(*given: object, **named: object) -> Tensor:
        if fault == "missing":
            raise AttributeError("no such operation")
        return torch.zeros(1, 16, 5, 6)

    layer, pictures = _layer(32, 24), _pictures(32, torch.float32)
    monkeypatch.setattr(relu_convolution, "_fused", fails)
    with torch.inference_mode():
        got = ReluConvolution(layer, torch.float32)(pictures)
        torch.testing.assert_close(got, F.relu(layer(pictures)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("above", "below"), [(1, 1), (0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize(("count", "height", "width"), [(3, 9, 11), (2, 40, 53), (1, 3, 3), (5, 8, 600)])
def test_wide_layers_are_computed_with_fewer_products(
    monkeypatch: pytest.MonkeyPatch, above: int, below: int, count: int, height: int, width: int
) -> None:
    monkeypatch.setattr(relu_convolution, "_fused", None)  # not used
    layer = _layer(64, 128)
    values = torch.randn(count, 64, height, width, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        pictures = values.contiguous(memory_format=torch.channels_last)
        got = ReluConvolution(layer, torch.float32)(pictures, above=above, below=below)
        padded = F.pad(values.double(), (1, 1, above, below))
        assert layer.bias is not None
        wanted = F.conv2d(padded, layer.weight.double(), layer.bias.double()).clamp(min=0)
    assert got.dtype == torch.float32 and got.is_contiguous(memory_format=torch.channels_last)
    assert (wanted == 0).any() and wanted.max() > 0.5
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=2e-5)


def test_without_prepared_products_plain_ones_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_can_prepare", lambda: False)
    layer, pictures = _layer(64, 128), _pictures(64, torch.float32)
    with torch.inference_mode():
        got = ReluConvolution(layer, torch.float32)(pictures)
        torch.testing.assert_close(got, F.relu(layer(pictures)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_products_are_tried_before_they_are_used(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def fails(values: Tensor, *, prepared: object) -> Tensor:
        if fault == "missing":
            raise NotImplementedError("no such operation")
        return torch.zeros(len(values), 5, 128)

    winograd._can_prepare.cache_clear()
    monkeypatch.setattr(winograd, "_prepared_products", fails)
    try:
        assert not winograd._can_prepare()
    finally:
        winograd._can_prepare.cache_clear()


def test_other_layers_are_refused() -> None:
    for layer in (nn.Conv2d(4, 4, 3, bias=False), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, stride=2)):
        with pytest.raises(ValueError, match="not a 3x3 convolution"):
            ReluConvolution(layer, torch.float32)
