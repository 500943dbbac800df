"""Deep features kept over steps, and one clip read with several texts: what runs, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from starvsr.models.chunking import WHOLE
from starvsr.models.feature_cache import FeatureCache, FeatureCaches
from starvsr.models.inference import owned
from starvsr.models.star.attention import TextContext
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet

CONFIG = StarUNetConfig(
    width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(4, 4), dropout=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> StarUNet:
    generator = torch.Generator().manual_seed(1)
    network = StarUNet(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        gain = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.normal_(std=gain, generator=generator)
    return network


def _clip(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 4, 3, 6, 4, generator=torch.Generator().manual_seed(seed))


TEXTS = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(9))


@contextmanager
def _counted(network: StarUNet) -> Iterator[list[str]]:
    """Note which blocks run."""
    seen: list[str] = []
    hooks = []
    for name, module in network.named_modules():
        parts = name.split(".")
        if parts[-1].isdigit() and "transformer_blocks" not in parts and module is not network:
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: seen.append(name)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def test_a_cache_of_one_step_is_no_cache(network: StarUNet) -> None:
    cache = FeatureCache(1)
    for t in (900, 700, 500):
        arguments = (_clip(t), torch.tensor([t]), TEXTS[:1], _clip(1))
        assert torch.equal(network(*arguments, cache=cache), network(*arguments))
        assert cache.features is None
        cache.next_step()
    assert FeatureCaches(1).of("a clip") is None


@torch.no_grad()
def test_the_first_step_of_a_cache_is_whole(network: StarUNet) -> None:
    arguments = (_clip(), torch.tensor([900]), TEXTS[:1], _clip(1))
    assert torch.equal(network(*arguments, cache=FeatureCache(3)), network(*arguments))


@torch.no_grad()
@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_nothing_is_lost_when_the_input_stays_the_same(network: StarUNet, num_blocks: int) -> None:
    """Then the kept features are what would be computed again."""
    cache = FeatureCache(2, num_blocks)
    arguments = (_clip(), torch.tensor([900]), TEXTS[:1], _clip(1))
    whole = network(*arguments, cache=cache)
    cache.next_step()
    assert cache.features is not None
    assert torch.equal(network(*arguments, cache=cache), whole)
    assert torch.equal(network(*arguments, cache=cache), whole)  # what is kept was not written into


@torch.no_grad()
def test_deep_blocks_run_every_second_step_only(network: StarUNet) -> None:
    cache, steps = FeatureCache(2), (900, 880, 860, 840)
    runs, differences = [], []
    for t in steps:
        arguments = (_clip(), torch.tensor([t]), TEXTS[:1], _clip(1))
        with _counted(network) as seen:
            out = network(*arguments, cache=cache)
        cache.next_step()
        runs.append(seen)
        differences.append((out - network(*arguments)).abs().mean() / out.abs().mean())
    deep = [[name for name in run if "middle_block" in name or "input_blocks.2" in name] for run in runs]
    assert [len(names) > 0 for names in deep] == [True, False, True, False]
    assert all("output_blocks.3.0" in run for run in runs)
    assert not any("VideoControlNet.input_blocks.1" in name for name in runs[1])
    assert len(runs[1]) < len(runs[0]) / 3
    assert differences[0] == differences[2] == 0 < differences[1] < 0.5


def test_caches_age_together_and_let_go() -> None:
    caches = FeatureCaches(3)
    first, second = caches.of("first"), caches.of("second")
    assert first is not None and second is not None and caches.of("first") is first
    first.see(torch.ones(1), num_left=first.num_blocks)
    for kept in (True, True, True, False):  # the step itself and two more
        assert (first.features is not None) is kept
        assert second.features is None
        caches.next_step()


@torch.no_grad()
@pytest.mark.parametrize("max_elements", [WHOLE, 200])
@pytest.mark.parametrize("remembering", [False, True])
def test_one_clip_read_with_two_texts(network: StarUNet, max_elements: int, remembering: bool) -> None:
    """What comes before the first text runs once, and the answers are those of two calls."""
    x, t, hint = _clip(), torch.tensor([700]), _clip(1)
    apart = torch.cat([network(x, t, text[None], hint) for text in TEXTS])
    network.budget.max_elements = max_elements
    try:
        with _counted(network) as seen:
            both = network(x, t, TextContext(TEXTS) if remembering else TEXTS, hint)
    finally:
        network.budget.max_elements = WHOLE
    assert both.shape == (2, *x.shape[1:])
    torch.testing.assert_close(both, apart, atol=2e-5, rtol=1e-4)
    assert (apart[0] - apart[1]).abs().max() > 1e-3
    frames = {"input_blocks.1.0": 0, "output_blocks.0.0": 0}
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: frames.__setitem__(name, owned(inputs[0]).num_frames)
        )
        for name in frames
    ]
    network(x, t, TEXTS, hint)
    for hook in hooks:
        hook.remove()
    assert frames == {"input_blocks.1.0": 3, "output_blocks.0.0": 6} and seen.count("input_blocks.1.0") == 1


def test_two_texts_give_the_gradients_of_two_calls() -> None:
    torch.manual_seed(0)
    network = StarUNet(CONFIG)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    gradients = []
    for together in (True, False):
        network.zero_grad()
        texts = [TEXTS] if together else [TEXTS[:1], TEXTS[1:]]
        for text in texts:
            network(_clip(), torch.tensor([700]), text, _clip(1)).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    largest = max(gradient.abs().max() for gradient in gradients[0])
    assert all(((a - b).abs().max() < 1e-5 * largest) for a, b in zip(*gradients, strict=True))


@torch.no_grad()
def test_a_cache_for_a_clip_with_two_texts(network: StarUNet) -> None:
    cache = FeatureCache(2)
    arguments = (_clip(), torch.tensor([900]), TEXTS, _clip(1))
    whole = network(*arguments, cache=cache)
    assert torch.equal(network(*arguments, cache=cache), whole)
