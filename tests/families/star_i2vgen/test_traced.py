"""STAR's footprint counted by hand against the same networks traced on the meta device: two routes to one number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from starvsr.families.star_i2vgen.footprint.forecast import PHASES, StarFootprint, streamed_bytes
from starvsr.families.star_i2vgen.footprint.plan import StarPlan
from starvsr.models.chunking import WHOLE
from starvsr.models.star.unet import StarUNet, StarUNetConfig
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.offload.footprint import ClipSize
from starvsr.offload.memory_plan import PLACES, MemoryPlan
from starvsr.offload.traced import ComponentBytes, TracedFootprint, TracedPhase, trace_footprint, traced_peak
from starvsr.offload.weights import Component
from tests.support.tiny_star import UNET, VAE

TOLERANCE = 0.005
"""Of the counted bytes of work; a clip that is larger by one step of the grid is further away than that."""

SIZES = (ClipSize(2, 130, 128), ClipSize(2, 194, 192), ClipSize(4, 194, 192))
TEXT_TOKENS, GROUP, WINDOW = 77, 8, 32


def _networks(unet: StarUNetConfig, vae: TemporalVaeConfig) -> tuple[StarUNet, TemporalVae]:
    with torch.device("meta"):
        return StarUNet(unet).eval().requires_grad_(False), TemporalVae(vae).eval().requires_grad_(False)


def _counted(network: StarUNet, vae: TemporalVae) -> StarFootprint:
    values = sum(parameter.numel() for parameter in network.parameters())
    vae_values = sum(parameter.numel() for parameter in vae.parameters())
    return StarFootprint(
        network.config, vae.config, 4 * values, streamed_bytes(network.config, 4), 4 * vae_values,
        item=4, decode_item=4, group=GROUP, window=WINDOW, context_tokens=TEXT_TOKENS,
    )  # fmt: skip


def _parts(network: StarUNet, vae: TemporalVae) -> tuple[dict[str, Component], list[TracedPhase]]:
    encode, sample, decode = PHASES
    factor, width = vae.config.factor, network.config.context_dim

    def meta(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    def latents(clip: ClipSize) -> tuple[Tensor, ...]:
        x, hint = (meta(1, 4, clip.num_frames, clip.height, clip.width) for _ in range(2))
        return x, torch.zeros(1, dtype=torch.long, device="meta"), meta(1, TEXT_TOKENS, width), hint

    def frame(clip: ClipSize) -> tuple[Tensor, ...]:
        return (meta(clip.num_frames, 3, factor * clip.height, factor * clip.width),)

    def group(clip: ClipSize) -> tuple[Tensor, ...]:
        return (meta(clip.num_frames, 4, clip.height, clip.width),)

    def held(clip: ClipSize) -> int:
        return 0

    phases = [
        TracedPhase(encode, lambda clip: frame(ClipSize(1, clip.height, clip.width)), vae.moments, held, SIZES, 1),
        TracedPhase(sample, latents, network, held, SIZES, WINDOW),
        TracedPhase(decode, group, vae.decode, held, SIZES, GROUP),
    ]
    components = {"network": Component(network, network.modules_as_run()), "vae": Component(vae)}
    return components, phases


def _traced(network: StarUNet, vae: TemporalVae) -> TracedFootprint:
    return trace_footprint(*_parts(network, vae))


def test_the_tiny_networks_counted_and_traced_agree() -> None:
    network, vae = _networks(UNET, VAE)
    counted, traced, plan = _counted(network, vae), _traced(network, vae), StarPlan(at_once=WHOLE)
    _check_weights(counted, traced)
    for phase in PHASES:
        for clip in (ClipSize(16, 122, 216), ClipSize(12, 162, 160)):
            wanted = counted.peak(phase.name, clip, plan).work
            found = traced.peak(phase.name, clip, MemoryPlan()).work
            assert found == pytest.approx(wanted, rel=TOLERANCE), (phase.name, clip, found / wanted)
            wider = counted.peak(phase.name, ClipSize(clip.num_frames, clip.height, clip.width + 2), plan).work
            assert found != pytest.approx(wider, rel=TOLERANCE)


def test_the_published_networks_counted_and_traced_agree() -> None:
    network, vae = _networks(StarUNetConfig(), TemporalVaeConfig())
    counted, size = _counted(network, vae), ClipSize(2, 34, 32)
    components, phases = _parts(network, vae)
    sizes = {name: ComponentBytes.of(component) for name, component in components.items()}
    _check_weights(counted, TracedFootprint(tuple(phases), {}, sizes))
    weights = [*network.parameters(), *vae.parameters()]
    for phase in phases:
        wanted = counted.peak(phase.phase.name, size, StarPlan(at_once=WHOLE)).work
        assert traced_peak(phase, size, weights) == pytest.approx(wanted, rel=TOLERANCE), phase.phase.name


def _check_weights(counted: StarFootprint, traced: TracedFootprint) -> None:
    for phase in PHASES:
        for place in PLACES:
            assert traced.weights(place, phase.name) == counted.weights(place, phase.name)
