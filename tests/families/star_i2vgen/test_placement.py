"""STAR with offloaded and streamed weights: equal results, few of them at a time. A CPU that copies acts as device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from starvsr.families.star_i2vgen.footprint.forecast import streamed_bytes
from starvsr.models.int8 import to_int8, weight_bytes
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.offload.memory_plan import PLACES, Place
from starvsr.offload.trace import LiveBytes
from starvsr.offload.weights import Component, Placement

CONFIG = StarUNetConfig(
    width=64, multipliers=(1, 2, 2), num_res_blocks=2, head_dim=16, first_heads=5, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(4, 4, 4), dropout=0.0,
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture
def network() -> StarUNet:
    torch.manual_seed(0)
    network = StarUNet(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network


def _inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, hint = torch.randn(2, 1, 4, 2, 10, 8, generator=generator)
    return x, torch.tensor([500]), torch.randn(1, 5, 24, generator=generator), hint


def _placement(network: StarUNet, place: Place, vae: nn.Module | None = None) -> Placement:
    components = {"network": Component(network, network.modules_as_run()), "vae": Component(vae or nn.Linear(3, 3))}
    return Placement(components, CPU, place)


@pytest.mark.parametrize("in_8_bits", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_the_place_changes_no_result(network: StarUNet, place: Place, in_8_bits: bool) -> None:
    if in_8_bits:
        to_int8(network)
    with torch.inference_mode():
        plain = network(*_inputs())
        placement = _placement(network, place)
        for _ in range(2):
            with placement.using(["network"]):
                for _ in range(2):
                    assert torch.equal(network(*_inputs()), plain)
        placement.end()
        assert torch.equal(network(*_inputs()), plain)


def test_streaming_holds_two_modules_at_a_time(network: StarUNet) -> None:
    inputs = _inputs()
    with torch.inference_mode(), LiveBytes([*network.parameters(), *inputs]) as plain:
        network(*inputs)
    placement = _placement(network, "stream")
    with torch.inference_mode(), LiveBytes([*network.parameters(), *inputs]) as streamed:
        with placement.using(["network"]):
            network(*inputs)
        after = streamed.live
    taken = streamed.peak - plain.peak
    assert 0 < taken <= 1.05 * streamed_bytes(CONFIG, 4) < 0.3 * weight_bytes(network)
    assert after < 1000  # nothing stays


def test_every_weight_is_streamed_or_stays(network: StarUNet) -> None:
    parts = network.modules_as_run()
    inside = {id(p) for part in parts for p in part.parameters()}
    assert len(inside) == sum(1 for part in parts for _ in part.parameters())  # no module twice
    outside = [name for name, p in network.named_parameters() if id(p) not in inside]
    assert {name.replace("VideoControlNet.", "").split(".")[0] for name in outside} == {"time_embed", "out"}


def test_the_modules_are_in_the_order_of_a_call(network: StarUNet) -> None:
    parts = network.modules_as_run()
    seen: list[int] = []
    numbers = {id(part): number for number, part in enumerate(parts)}
    hooks = [part.register_forward_pre_hook(lambda module, _: seen.append(numbers[id(module)])) for part in parts]
    with torch.no_grad():
        network(*_inputs())
    for hook in hooks:
        hook.remove()
    assert seen == list(range(len(parts)))


@pytest.mark.parametrize("place", PLACES)
def test_weights_return_when_something_fails(network: StarUNet, place: Place) -> None:
    before = {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}
    placement = _placement(network, place)
    with (
        pytest.raises(RuntimeError, match=r"shape|size|channels"),
        torch.inference_mode(),
        placement.using(["network"]),
    ):
        network(torch.randn(1, 3, 2, 10, 8), *_inputs()[1:])
    assert {name: tensor.data_ptr() for name, tensor in network.state_dict().items()} == before
    with torch.inference_mode(), placement.using(["network"]):
        network(*_inputs())
    placement.end()


def test_the_autoencoder_comes_and_goes(network: StarUNet) -> None:
    vae = nn.Linear(100, 100)
    home = vae.weight.data_ptr()
    placement = _placement(network, "offload", vae)
    with placement.using(["vae"]):
        assert vae.weight.data_ptr() != home
    assert vae.weight.data_ptr() == home
