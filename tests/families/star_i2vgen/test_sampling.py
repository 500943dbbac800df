"""Sampling of the published networks with less work: what is left out, what stays the same, how near the rest is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.samplers import SAMPLERS
from starvsr.errors import OptionError
from starvsr.families.options import option_infos
from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.families.star_i2vgen.sampling import Sampling
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig

UNET = StarUNetConfig(
    width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=16,
    temporal_stages=(2, 2), dropout=0.0,
)  # fmt: skip
STEPS = 6


@pytest.fixture(scope="module")
def network() -> StarUNet:
    generator = torch.Generator().manual_seed(1)
    network = StarUNet(UNET).eval().requires_grad_(False)
    for parameter in network.parameters():
        gain = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
        parameter.normal_(std=gain, generator=generator)
    return network


class Run:
    """Samples one clip and counts what ran."""

    def __init__(self, network: StarUNet, num_frames: int = 3, **settings: Any) -> None:
        generator = torch.Generator().manual_seed(3)
        hint = torch.randn(1, 4, num_frames, 6, 4, generator=generator)
        contexts = tuple(torch.randn(1, 5, 16, generator=generator) for _ in range(2))
        vae = TemporalVae(TemporalVaeConfig(channels=(32, 32)))
        star = StarI2VGenPipeline("tiny", network, TemporalVaeCodec(vae), contexts, Sampling(**settings))  # type: ignore[arg-type]
        self.calls, self.deep = 0, 0
        hooks = [
            network.register_forward_pre_hook(lambda *_: self._count("calls")),
            network.middle_block[0].register_forward_pre_hook(lambda *_: self._count("deep")),
        ]
        levels = star.sampling.levels(star.schedule, STEPS)
        self.latents = star.sample(hint, levels, FrameNoise(tuple(hint.shape), seed=1))
        for hook in hooks:
            hook.remove()

    def _count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)

    def far_from(self, other: Run) -> float:
        return float((self.latents - other.latents).std() / other.latents.std())


@pytest.fixture
def full(network: StarUNet) -> Run:
    return Run(network)


def test_an_interval_of_all_timesteps_changes_nothing(network: StarUNet, full: Run) -> None:
    run = Run(network, guidance_interval=(0, 999))
    assert torch.equal(run.latents, full.latents) and run.calls == full.calls == 2 * STEPS


def test_an_interval_that_is_never_met_is_no_guidance(network: StarUNet, full: Run) -> None:
    run, plain = Run(network, guidance_interval=(950, 999)), Run(network, guidance=1.0)
    assert torch.equal(run.latents, plain.latents) and run.calls == plain.calls == STEPS
    assert plain.far_from(full) > 0.01


@pytest.mark.parametrize("pair", ["apart", "together"])
def test_outside_the_interval_the_network_is_asked_once(network: StarUNet, full: Run, pair: str) -> None:
    run = Run(network, guidance_interval=(300, 700), guidance_pair=pair)
    guided = 3  # of the steps at t = 899, 770, 642, 513, 385, 256
    assert run.calls == STEPS + (guided if pair == "apart" else 0)
    plain = Run(network, guidance=1.0)
    assert 0 < run.far_from(full) < plain.far_from(full)


def test_both_prompts_in_one_call_are_the_same_sums(network: StarUNet, full: Run) -> None:
    run = Run(network, guidance_pair="together")
    assert run.calls == run.deep == STEPS and full.deep == 2 * STEPS
    torch.testing.assert_close(run.latents, full.latents, atol=1e-4, rtol=1e-4)


def test_a_cache_of_one_step_changes_nothing(network: StarUNet, full: Run) -> None:
    run = Run(network, feature_cache=1)
    assert torch.equal(run.latents, full.latents) and run.deep == full.deep


@pytest.mark.parametrize("pair", ["apart", "together"])
@pytest.mark.parametrize(("every", "whole_steps"), [(2, 3), (3, 2), (100, 1)])
def test_deep_blocks_run_in_whole_steps_only(
    network: StarUNet, full: Run, every: int, whole_steps: int, pair: str
) -> None:
    run = Run(network, feature_cache=every, guidance_pair=pair)
    calls = 2 if pair == "apart" else 1
    assert run.calls == calls * STEPS and run.deep == calls * whole_steps
    assert run.latents.isfinite().all()
    assert 0 < run.far_from(full) < 0.5


def test_a_longer_cache_is_farther_off(network: StarUNet, full: Run) -> None:
    assert Run(network, feature_cache=2).far_from(full) < Run(network, feature_cache=100).far_from(full)


def test_windows_do_not_share_their_features(network: StarUNet) -> None:
    settings = {"num_frames": 9, "window": 4}
    full, run = Run(network, **settings), Run(network, feature_cache=2, **settings)
    assert run.calls == full.calls > 2 * STEPS and run.deep == full.deep / 2
    assert 0 < run.far_from(full) < 0.5


def test_guidance_that_comes_back_does_not_take_old_features(network: StarUNet) -> None:
    """The negative prompt's features are kept for steps, not for calls."""
    run = Run(network, guidance_interval=(500, 800), feature_cache=2)
    # t = 899 whole, alone; 770 positive from the cache, negative whole; 642 positive whole, negative from the cache;
    # 513 positive from the cache, negative whole; 385 whole; 256 from the cache
    assert run.deep == 5


def test_an_interval_without_guidance_is_refused() -> None:
    with pytest.raises(OptionError, match="--guidance-interval"):
        Sampling(guidance=1.0, guidance_interval=(0, 500))
    assert dataclasses.replace(Sampling(), guidance_interval=(0, 500)).feature_cache == 1


@torch.no_grad()
def test_samplers_by_name(network: StarUNet) -> None:
    runs = {name: Run(network, sampler=name) for name in ("dpmpp-2m-sde", "ddim", "heun")}
    assert torch.equal(runs["dpmpp-2m-sde"].latents, Run(network).latents)
    calls = {name: run.calls for name, run in runs.items()}
    # two prompts; heun evaluates twice in each step but the last
    assert calls == {"dpmpp-2m-sde": 2 * STEPS, "ddim": 2 * STEPS, "heun": 2 * (2 * STEPS - 1)}
    assert runs["heun"].far_from(runs["ddim"]) < runs["dpmpp-2m-sde"].far_from(runs["ddim"])  # it alone adds noise
    with pytest.raises(OptionError, match="unknown sampler 'euler': use dpmpp-2m-sde, ddim, heun"):
        Sampling(sampler="euler")


def test_the_samplers_are_those_of_the_option() -> None:
    assert dict(option_infos())["sampler"].choices == tuple(SAMPLERS)
