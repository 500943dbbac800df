"""Other kernels for the same sums: attention by name, blocks compiled, and what happens where that does not work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from starvsr.errors import OptionError
from starvsr.families.options import option_infos
from starvsr.families.star_i2vgen.acceleration import ATTENTION, CompiledNetwork, attention_scope
from starvsr.models.star.blocks import ResBlock
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet

CONFIG = StarUNetConfig(
    width=32, multipliers=(1,), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(), context_dim=8,
    temporal_stages=(1,), dropout=0.0,
)  # fmt: skip


@pytest.fixture
def network() -> Iterator[StarUNet]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = StarUNet(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    yield network
    torch._dynamo.reset()


def _inputs(num_frames: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x, hint = torch.randn(2, 1, 4, num_frames, 2, 4, generator=generator)
    return x, torch.tensor([500]), torch.randn(1, 3, 8, generator=generator), hint


def is_compiled(network: StarUNet) -> bool:
    return any("forward" in vars(module) for module in network.modules())


def _trusting(seen: list[int]) -> Callable[..., Any]:
    """A compiler that runs what it is given and counts the graphs."""

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    return backend


@torch.inference_mode()
def test_compiled_blocks_give_the_same_and_are_compiled_once(network: StarUNet) -> None:
    wanted, graphs = network(*_inputs()), []
    compiled = CompiledNetwork(network, "default", backend=_trusting(graphs))
    assert not graphs  # nothing is compiled before it is needed
    assert torch.equal(compiled(*_inputs()), wanted)
    num_blocks, num_graphs = len(list(network.modules())), len(graphs)
    assert 0 < num_graphs < num_blocks / 4
    assert torch.equal(compiled(*_inputs()), wanted) and len(graphs) == num_graphs
    compiled(*_inputs(3))  # another length of clip is compiled anew
    assert len(graphs) > num_graphs and is_compiled(network) and not compiled.notes


@torch.inference_mode()
def test_where_compiling_fails_the_plain_network_goes_on(network: StarUNet) -> None:
    wanted = network(*_inputs())

    def broken(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no compiler\non this machine")

    compiled = CompiledNetwork(network, "default", backend=broken)
    assert torch.equal(compiled(*_inputs()), wanted)
    assert not is_compiled(network)
    (note,) = compiled.notes
    assert "--compile default does not work here" in note and "\n" not in note
    assert torch.equal(compiled(*_inputs()), wanted) and len(compiled.notes) == 1


@torch.inference_mode()
def test_an_error_of_the_network_itself_comes_through(network: StarUNet) -> None:
    compiled = CompiledNetwork(network, "default", backend=_trusting([]))
    x, t, context, hint = _inputs()
    with pytest.raises(RuntimeError):
        compiled(x, t, context[..., :5], hint)


@torch.inference_mode()
def test_running_out_of_memory_is_not_taken_for_a_failure_to_compile(
    network: StarUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ResBlock, "forward", greedy)
    compiled = CompiledNetwork(network, "default", backend=_trusting([]))
    with pytest.raises(torch.OutOfMemoryError):
        compiled(*_inputs())
    assert is_compiled(network)


@pytest.mark.parametrize("word", ["auto", "flash", "math"])
def test_attention_by_name_is_the_same_attention(word: str) -> None:
    query = torch.randn(2, 3, 20, 16, generator=torch.Generator().manual_seed(0))
    scope = attention_scope(word, "cpu", torch.float32, 16)
    for _ in range(2):  # a scope can be entered again and again
        with scope():
            mixed = F.scaled_dot_product_attention(query, query, query)
    torch.testing.assert_close(mixed, F.scaled_dot_product_attention(query, query, query), atol=1e-5, rtol=1e-5)


def test_attention_that_a_device_has_not_is_refused() -> None:
    for word in ("efficient", "cudnn"):
        with pytest.raises(OptionError, match=rf"--attention {word} is not available on cpu with float32: use auto"):
            attention_scope(word, "cpu", torch.float32, 64)
    with pytest.raises(OptionError, match="use auto, flash"):
        attention_scope("quick", "cpu", torch.float32, 64)


def test_the_words_are_those_of_the_option() -> None:
    infos = dict(option_infos())
    assert infos["attention"].choices == ATTENTION
