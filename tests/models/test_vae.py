"""The temporal autoencoder: names, memory-lean and plain ways agree, groups of a clip. Numbers: tests/parity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from starvsr.models.vae import temporal as temporal_vae
from starvsr.models.vae.codec import TemporalVaeCodec, decode_groups
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig

SMALL = TemporalVaeConfig(channels=(16, 16, 32), groups=8)


@pytest.fixture(scope="module")
def vae() -> TemporalVae:
    torch.manual_seed(0)
    vae = TemporalVae(SMALL).eval()
    for name, parameter in vae.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif name.endswith("mix_factor"):
            torch.nn.init.constant_(parameter, 0.4)
    return vae


def test_published_names_and_sizes() -> None:
    with torch.device("meta"):
        vae = TemporalVae()
    state = vae.state_dict()
    assert len(state) == 374
    assert sum(tensor.numel() for tensor in state.values()) == 97_742_847
    assert sum(parameter.numel() for parameter in vae.decoder.parameters()) == 63_579_183


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 3, 2), (3, 4, 3), (5, 3, 2)])
def test_the_lean_way_gives_what_the_plain_way_gives(
    vae: TemporalVae, monkeypatch: pytest.MonkeyPatch, frames: int, height: int, width: int
) -> None:
    monkeypatch.setattr(temporal_vae, "STRIP_VALUES", 1000)  # several strips of rows, the last one shorter
    monkeypatch.setattr(temporal_vae, "SPATIAL_VALUES", 600)
    latents = torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(2))
    pixels = torch.randn(frames, 3, 4 * height, 4 * width, generator=torch.Generator().manual_seed(3))
    plain, moments = vae.decode(latents), vae.moments(pixels)
    kept = latents.clone(), pixels.clone()
    with torch.no_grad():
        torch.testing.assert_close(vae.decode(latents), plain.detach(), atol=2e-5, rtol=0)
        torch.testing.assert_close(vae.moments(pixels), moments.detach(), atol=2e-5, rtol=0)
    assert torch.equal(latents, kept[0]) and torch.equal(pixels, kept[1])  # in place, but not on what is given


def test_gradients_reach_the_latents(vae: TemporalVae) -> None:
    latents = torch.randn(2, 4, 2, 2, requires_grad=True)
    vae.decode(latents).square().mean().backward()
    assert latents.grad is not None and latents.grad.abs().min() > 0


def test_encoding_draws_from_the_posterior(vae: TemporalVae) -> None:
    codec = TemporalVaeCodec(vae)
    pixels = torch.rand(2, 3, 3, 8, 12) * 2 - 1
    with torch.no_grad():
        mean = codec.encode(pixels)
        drawn = codec.encode(pixels, torch.ones(2, 4, 3, 2, 3))
        logvar = vae.moments(pixels[1].transpose(0, 1)).chunk(2, 1)[1].transpose(0, 1)
    assert mean.shape == (2, 4, 3, 2, 3)
    torch.testing.assert_close((drawn - mean)[1], SMALL.scaling_factor * (0.5 * logvar).exp(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_frames", [*range(1, 14), 20, 33])
@pytest.mark.parametrize(("group", "overlap"), [(8, 4), (3, 0), (6, 2), (1, 0)])
def test_groups_give_every_frame_once(vae: TemporalVae, num_frames: int, group: int, overlap: int) -> None:
    """With a decoder that only repeats its input, cutting and blending must not be seen."""

    class Repeating(TemporalVaeCodec):
        def _decode_group(self, latents: Tensor) -> Tensor:
            assert latents.shape[1] <= group
            return latents.transpose(0, 1)[:, :3].contiguous()

    latents = torch.randn(1, 4, num_frames, 2, 3, generator=torch.Generator().manual_seed(num_frames))
    decoded = Repeating(vae, group=group, overlap=overlap).decode(latents)
    torch.testing.assert_close(decoded, latents[:, :3], atol=1e-6, rtol=0)


def test_released_groups_stand_side_by_side() -> None:
    spans = [(window.start, window.stop) for window in decode_groups(8, 3, 0)]
    assert spans == [(0, 3), (3, 6), (6, 8)]


def _pulse(vae: TemporalVae, group: int, overlap: int) -> tuple[float, float]:
    """Change from frame to frame, and its part of period 3, that a cut into groups adds to a still clip."""
    still = torch.randn(1, 4, 1, 2, 3, generator=torch.Generator().manual_seed(5)).expand(-1, -1, 24, -1, -1)
    with torch.no_grad():
        whole = TemporalVaeCodec(vae, group=24, overlap=0).decode(still)
        added = (TemporalVaeCodec(vae, group=group, overlap=overlap).decode(still) - whole)[0, :, 6:18]
    spectrum = torch.fft.rfft(added, dim=1).abs().square().mean((0, 2, 3))
    change = added.diff(dim=1).square().mean().sqrt()
    return (change / whole.std()).item(), (spectrum[4].sqrt() / 6 / whole.std()).item()


def test_overlapping_groups_do_not_pulse(vae: TemporalVae) -> None:
    released_change, released_pulse = _pulse(vae, 3, 0)
    change, pulse = _pulse(vae, 8, 4)
    assert released_pulse > 0.05  # the fault is there to be repaired
    assert pulse < 0.02 * released_pulse
    assert change < 0.4 * released_change


@pytest.mark.parametrize("tiles", [(1, 2), (3, 1), (2, 2)])
def test_tiles_of_a_frame_meet_without_a_seam(vae: TemporalVae, tiles: tuple[int, int]) -> None:
    """A tile sees little less than the whole; the change across its border is that of any other place."""
    latents = torch.randn(1, 4, 2, 60, 64, generator=torch.Generator().manual_seed(6))
    pixels = torch.randn(1, 3, 1, 240, 256, generator=torch.Generator().manual_seed(7))
    codec, cut = TemporalVaeCodec(vae), TemporalVaeCodec(vae)
    cut.tiles = tiles
    with torch.no_grad():
        whole, tiled = codec.decode(latents), cut.decode(latents)
        encoded, parts = codec.encode(pixels), cut.encode(pixels)
    assert tiled.shape == whole.shape and parts.shape == encoded.shape
    assert 0 < (tiled - whole).abs().mean() < 0.1 * whole.std()
    assert 0 < (parts - encoded).abs().mean() < 0.1 * encoded.std()
    for axis in (3, 4):
        steps = tiled.diff(dim=axis).square().mean([d for d in range(5) if d != axis]).sqrt()
        plain = whole.diff(dim=axis).square().mean([d for d in range(5) if d != axis]).sqrt()
        assert (steps / plain).max() < 1.15  # no line stands out


def test_one_tile_is_the_whole(vae: TemporalVae) -> None:
    latents = torch.randn(1, 4, 2, 5, 4)
    cut = TemporalVaeCodec(vae)
    cut.tiles = (1, 1)
    with torch.no_grad():
        assert torch.equal(cut.decode(latents), TemporalVaeCodec(vae).decode(latents))


@pytest.mark.parametrize(("layers", "unused"), [(1, "mid_block.attentions.0."), (3, "mid_block.resnets.2.")])
def test_a_middle_without_a_second_block_has_no_attention(layers: int, unused: str) -> None:
    """As diffusers pairs them: the attention goes with the second block, and blocks behind it are left out."""
    torch.manual_seed(4)
    decoder = TemporalVae(TemporalVaeConfig(channels=(16, 16), layers_per_block=layers, groups=8)).decoder
    decoder(torch.randn(2, 4, 3, 2)).square().mean().backward()
    without = {name for name, parameter in decoder.named_parameters() if parameter.grad is None}
    assert without and all(name.startswith(unused) for name in without)
    assert len(without) == sum(name.startswith(unused) for name, _ in decoder.named_parameters())
