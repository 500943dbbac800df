"""The decoder in strips gives what it gives as a whole, and holds one map of the frame."""

from __future__ import annotations

import copy

import pytest
import torch

from starvsr.families.stablevsr.decoder import FrameDecoder
from starvsr.families.stablevsr.strips import (
    Convolved,
    Doubled,
    Residual,
    Stored,
    can_be_cut,
    decode_in_strips,
)
from starvsr.offload.trace import LiveBytes
from tests.support.bfloat16 import needs_bfloat16


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def decoder(model):
    return model._loaded.decoder


@pytest.mark.parametrize(("size", "max_elements"), [((32, 32), 1), ((33, 37), 30_000), ((9, 21), 1 << 26)])
@torch.inference_mode()
def test_strips_of_any_height_give_the_whole_picture(decoder, size, max_elements):
    given = decoder.first(noise(1, 4, *size))
    whole, made = decoder.decoder(given), decode_in_strips(decoder.decoder, given, max_elements)
    assert made.shape == whole.shape == (1, 3, 4 * size[0], 4 * size[1])
    torch.testing.assert_close(made, whole, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_statistics_are_those_of_the_frame_and_not_of_the_strip(decoder):
    """A change of the lowest rows is seen in the uppermost ones, as much as in the whole."""
    latents = [noise(1, 4, 40, 8), noise(1, 4, 40, 8)]
    latents[1][:, :, 30:] *= 5
    whole, made = (
        [decode(decoder.first(latent)) for latent in latents]
        for decode in (decoder.decoder, lambda given: decode_in_strips(decoder.decoder, given, 1))
    )
    changes = [float((pair[1] - pair[0])[:, :, :20].abs().mean()) for pair in (whole, made)]
    assert changes[0] > 1e-3 and changes[1] == pytest.approx(changes[0], rel=1e-3)


@needs_bfloat16
@torch.inference_mode()
def test_half_precision_stays_as_near_as_in_the_whole(decoder, model):
    half = FrameDecoder(model._loaded.vae, torch.bfloat16)
    latent = 0.5 * noise(1, 4, 32, 32)
    exact = decoder(latent)
    errors = [float((half(latent, strips=strips) - exact).square().mean().sqrt()) for strips in (False, True)]
    assert 0 < errors[1] < 1.5 * errors[0]


@torch.no_grad()
def test_one_map_is_in_memory(decoder):
    latent = noise(1, 4, 48, 64)
    peaks = []
    for run in (decoder.decoder, lambda given: decode_in_strips(decoder.decoder, given, 60_000)):
        given = decoder.first(latent)
        with LiveBytes([*decoder.state_dict().values(), given]) as live:
            run(given)
        peaks.append(live.peak)
    assert peaks[1] < 0.5 * peaks[0]


def test_results_may_take_the_place_of_what_they_are_made_of():
    """A strip waits until the next one has read the rows above it."""
    from starvsr.families.stablevsr.strips import _stored

    torch.manual_seed(0)
    layer, given = torch.nn.Conv2d(2, 2, 3, padding=1).requires_grad_(False), noise(1, 2, 29, 5)
    branch = Convolved(Convolved(Stored(given.clone()), layer), layer)
    expected = given + layer(layer(given))
    source = Stored(given.clone())
    made = Residual(source, None, Convolved(Convolved(source, layer), layer), 1.0)
    assert _stored(made, 1, source.map).map is source.map
    torch.testing.assert_close(source.map, expected)
    torch.testing.assert_close(branch.rows(3, 4), layer(layer(given))[:, :, 3:4])


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 4), (3, 8), (0, 10)])
def test_rows_of_a_doubled_map(start, stop):
    given = noise(1, 2, 5, 3)
    doubled = given.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert Doubled(Stored(given)).size == (2, 10, 6)
    assert torch.equal(Doubled(Stored(given)).rows(start, stop), doubled[:, :, start:stop])


def test_decoders_with_other_layers_are_not_cut(decoder, model):
    own = decoder.decoder
    assert can_be_cut(own)
    other = copy.copy(own)
    other._modules = {**own._modules, "conv_norm_out": torch.nn.Identity()}
    assert not can_be_cut(other)
    other._modules = {**own._modules, "up_blocks": torch.nn.ModuleList([torch.nn.Identity()])}
    assert not can_be_cut(other)
