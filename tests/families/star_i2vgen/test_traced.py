"""STAR's footprint counted by hand against the same networks traced on the meta device: two routes to one number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from starvsr.families.star_i2vgen.footprint.forecast import PHASES, StarFootprint, streamed_bytes
from starvsr.families.star_i2vgen.footprint.plan import StarPlan
from starvsr.models.chunking import WHOLE
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.offload.footprint import ClipSize
from starvsr.offload.memory_plan import PLACES, MemoryPlan
from starvsr.offload.traced import ComponentBytes, Sizes, TracedFootprint, TracedPhase, trace_footprint, traced_peak
from starvsr.offload.weights import Component
from tests.support.tiny_star import UNET, VAE

TOLERANCE = 0.005
"""Of the counted bytes of work; a clip that is larger by one step of the grid is further away than that."""

SMALL = (ClipSize(2, 18, 16), ClipSize(2, 26, 24), ClipSize(3, 26, 24))
"""At these sizes every layer works on whole maps."""
LARGE = (ClipSize(2, 130, 128), ClipSize(2, 194, 192), ClipSize(4, 194, 192))
"""At these sizes the layers that can work in chunks do, in each phase."""
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


def _parts(network: StarUNet, vae: TemporalVae, sizes: Sizes = SMALL) -> tuple[dict[str, Component], list[TracedPhase]]:
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
        TracedPhase(encode, lambda clip: frame(ClipSize(1, clip.height, clip.width)), vae.moments, held, sizes, 1),
        TracedPhase(sample, latents, network, held, sizes, WINDOW),
        TracedPhase(decode, group, vae.decode, held, sizes, GROUP),
    ]
    components = {"network": Component(network, network.modules_as_run()), "vae": Component(vae)}
    return components, phases


@pytest.mark.parametrize(
    ("sizes", "clips"),
    [
        (SMALL, (ClipSize(8, 18, 24), ClipSize(5, 26, 24))),
        pytest.param(LARGE, (ClipSize(16, 122, 216), ClipSize(12, 162, 160)), marks=pytest.mark.slow),
    ],
)
def test_the_tiny_networks_counted_and_traced_agree(sizes: Sizes, clips: tuple[ClipSize, ...]) -> None:
    network, vae = _networks(UNET, VAE)
    counted, traced = _counted(network, vae), trace_footprint(*_parts(network, vae, sizes))
    plan = StarPlan(at_once=WHOLE)
    _check_weights(counted, traced)
    for phase in PHASES:
        for clip in clips:
            wanted = counted.peak(phase.name, clip, plan).work
            found = traced.peak(phase.name, clip, MemoryPlan()).work
            assert found == pytest.approx(wanted, rel=TOLERANCE), (phase.name, clip, found / wanted)
            wider = counted.peak(phase.name, ClipSize(clip.num_frames, clip.height, clip.width + 2), plan).work
            assert found != pytest.approx(wider, rel=TOLERANCE)


@pytest.mark.parametrize(("phase", "size"), [("sample", ClipSize(16, 26, 40)), ("decode", ClipSize(4, 66, 64))])
def test_one_call_whose_layers_work_in_chunks_is_counted_as_traced(phase: str, size: ClipSize) -> None:
    network, vae = _networks(UNET, VAE)
    counted, small = (
        _counted(network, vae).peak(phase, clip, StarPlan(at_once=WHOLE)).work for clip in (size, SMALL[0])
    )
    (traced,) = (each for each in _parts(network, vae)[1] if each.phase.name == phase)
    found = traced_peak(traced, size, [*network.parameters(), *vae.parameters()])
    assert found == pytest.approx(counted, rel=TOLERANCE)
    assert found / _cells(size) < 0.8 * small / _cells(SMALL[0])  # chunks do save memory at this size


def _cells(clip: ClipSize) -> int:
    return clip.num_frames * clip.height * clip.width


def test_the_published_networks_counted_and_traced_agree() -> None:
    network, vae = _networks(StarUNetConfig(), TemporalVaeConfig())
    counted, size = _counted(network, vae), ClipSize(2, 18, 16)
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
