"""The STAR network: names, sizes, and what a fresh ControlNet does."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from starvsr.families.star_small.spec import STAR_SMALL
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.encoder import Condition, run_block
from starvsr.models.star.small.model import StarSmall, keep_brightness
from starvsr.models.star.unet import StarUNet

PUBLISHED_DIGEST = "199e2fb4703e28bc097a5d6596d97639f9bf4bd6ae1ec4503cc8ca3c945939ac"
SMALL = StarUNetConfig(
    width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(4, 4), dropout=0.0,
)  # fmt: skip


def _inputs(config: StarUNetConfig, frames: int = 3, height: int = 6, width: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, config.in_channels, frames, height, width, generator=generator)
    hint = torch.randn(x.shape, generator=generator)
    context = torch.randn(2, 5, config.context_dim, generator=generator)
    return [x, torch.tensor([3, 700]), context, hint]


def _randomize(module: torch.nn.Module) -> None:
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)


def test_published_names_and_shapes() -> None:
    with torch.device("meta"):
        network = StarUNet(StarUNetConfig())
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert len(shapes) == 2247
    assert sum(p.numel() for p in network.parameters()) == 2_041_121_910
    # digest of the published checkpoints' names and shapes, sorted by name
    text = json.dumps(sorted(shapes.items()))
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED_DIGEST


def test_fresh_control_changes_nothing() -> None:
    network = StarUNet(SMALL).eval()
    torch.nn.init.normal_(network.out[-1].weight, std=0.1)  # a fresh head is zero and would hide everything
    x, t, context, hint = _inputs(SMALL)
    with torch.no_grad():
        frames = x.transpose(1, 2).flatten(0, 1)
        controls = network.VideoControlNet(frames, t, context, hint.transpose(1, 2).flatten(0, 1), 3)
        assert all(not control.any() for control in controls)
        assert torch.equal(network(x, t, context, hint), network(x, t, context, None))


def test_trained_control_does_change_the_result() -> None:
    network = StarUNet(SMALL).eval()
    _randomize(network)
    x, t, context, hint = _inputs(SMALL)
    with torch.no_grad():
        difference = network(x, t, context, hint) - network(x, t, context, None)
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_any_number_of_frames(frames: int) -> None:
    network = StarUNet(SMALL).eval()
    x, t, context, hint = _inputs(SMALL, frames)
    with torch.no_grad():
        assert network(x, t, context, hint).shape == x.shape


def test_checkpointing_keeps_the_gradients() -> None:
    network = StarUNet(SMALL)
    _randomize(network)
    gradients = []
    for activation_checkpointing in (False, True):
        network.activation_checkpointing = activation_checkpointing
        network.zero_grad()
        network(*_inputs(SMALL)).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (6, 8), (9, 4)])
def test_star_small_takes_any_size_and_starts_as_the_identity(height: int, width: int) -> None:
    network = StarSmall(STAR_SMALL.network, STAR_SMALL.context_tokens).eval()
    hint = torch.randn(1, 48, 2, height, width)
    with torch.no_grad():
        assert torch.equal(network.one_step(hint, 0.7, 0.7, 250), hint)
        torch.nn.init.normal_(network.unet.out[-1].weight, std=0.1)
        assert not torch.allclose(network.one_step(hint, 0.7, 0.7, 250), hint)


def test_star_small_result_does_not_depend_on_distant_pixels() -> None:
    """What makes tiles and segments cheap: beyond the middle's attention nothing looks at the whole frame."""
    config = STAR_SMALL.network
    network = StarUNet(config).eval()
    block = network.input_blocks[2]
    features = torch.randn(2, config.channels[0], 16, 16)
    changed = features.clone()
    changed[..., 12:, :] += 5.0
    embedding, context = torch.zeros(1, 4 * config.width), torch.zeros(1, 1, config.context_dim)
    with torch.no_grad():
        a, b = (run_block(block, f, Condition(embedding, context, 2)) for f in (features, changed))
    assert torch.equal(a[..., :8, :], b[..., :8, :])


def test_one_step_keeps_brightness_and_passes_detail() -> None:
    velocity = torch.zeros(1, 48, 1, 24, 24)
    velocity[:, 0] = 0.7  # the whole picture brighter
    velocity[:, 5] = 0.3  # one detail coefficient
    velocity[:, 16, :, 12, 12] = 9.0  # one square of the second colour
    kept = keep_brightness(velocity)
    assert kept[:, 0].abs().max() < 1e-6
    assert torch.equal(kept[:, 5], velocity[:, 5])
    assert kept[0, 16, 0, 12, 12] == pytest.approx(9.0 * 80 / 81)
