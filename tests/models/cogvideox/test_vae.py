"""The causal VAE: one pass in, pieces out, and little memory on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX

from starvsr.models.cogvideox import lean_vae
from starvsr.models.cogvideox.vae import decode, encode_moments, sample
from starvsr.offload.trace import LiveBytes


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLCogVideoX:
    torch.manual_seed(0)
    made = AutoencoderKLCogVideoX(
        block_out_channels=(32, 32, 64, 64), latent_channels=4, layers_per_block=1, sample_height=64, sample_width=64
    )
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("frames", "height", "width", "max_elements"),
    [(1, 16, 24, 1), (5, 24, 16, 1), (9, 16, 8, 40_000), (13, 16, 16, 1 << 40), (17, 8, 8, 9000)],
)
def test_in_little_memory_the_same(
    vae: AutoencoderKLCogVideoX,
    frames: int,
    height: int,
    width: int,
    max_elements: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for function in (lean_vae.encode, lean_vae.decode_piece):
        monkeypatch.setattr(function, "__defaults__", (max_elements,))
    video = torch.rand(2, 3, frames, height, width) * 2 - 1
    latents = torch.randn(2, 4, (frames + 3) // 4, height // 8, width // 8)
    plain, decoded = torch.cat(encode_moments(vae, video), 1), decode(vae, latents)
    assert plain.shape == (2, 8, (frames + 3) // 4, height // 8, width // 8)
    assert decoded.shape == video.shape
    kept = video.clone(), latents.clone()
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat(encode_moments(vae, video), 1), plain, atol=2e-5, rtol=0)
        torch.testing.assert_close(decode(vae, latents), decoded, atol=2e-5, rtol=0)
    assert torch.equal(video, kept[0]) and torch.equal(latents, kept[1])


def test_pieces_are_those_of_diffusers(vae: AutoencoderKLCogVideoX) -> None:
    for count in (1, 3, 5):
        latents = torch.randn(1, 4, count, 2, 3)
        with torch.inference_mode():
            torch.testing.assert_close(decode(vae, latents), vae.decode(latents).sample, atol=2e-5, rtol=0)


def test_the_whole_clip_is_encoded_in_one_pass(vae: AutoencoderKLCogVideoX) -> None:
    video = torch.rand(1, 3, 17, 16, 16) * 2 - 1
    with torch.inference_mode():
        mean, _ = encode_moments(vae, video)
        in_pieces = vae.encode(video).latent_dist.mean
    assert (mean - in_pieces).abs().max() > 1e-2
    with pytest.raises(ValueError, match=r"takes 4k \+ 1"):
        encode_moments(vae, video[:, :, :16])


def test_an_even_number_of_latent_frames_begins_like_the_longer_clip(vae: AutoencoderKLCogVideoX) -> None:
    latents = torch.randn(1, 4, 4, 2, 2)
    longer = torch.cat([latents, latents[:, :, -1:]], 2)
    with torch.inference_mode():
        clip = decode(vae, latents)
        assert clip.shape[2] == 13
        assert torch.equal(clip, decode(vae, longer)[:, :, :13])


def test_sampling_the_posterior() -> None:
    mean, noise = torch.randn(2, 4, 1, 2, 2), torch.randn(2, 4, 1, 2, 2)
    logvar = torch.full_like(mean, 2 * torch.tensor(3.0).log().item())
    torch.testing.assert_close(sample(mean, logvar, noise), mean + 3 * noise)
    assert torch.equal(sample(mean, logvar, None), mean)


def test_it_needs_much_less_memory_than_diffusers() -> None:
    """Counted on the meta device at the published widths, one frame at a time."""
    with torch.device("meta"):
        vae = AutoencoderKLCogVideoX(block_out_channels=(128, 256, 256, 512), latent_channels=16, layers_per_block=1)
        video, latents = torch.empty(1, 3, 17, 96, 96), torch.empty(1, 16, 3, 12, 12)
    vae.eval()

    def peak(call: Callable[[], object]) -> int:
        with torch.no_grad(), LiveBytes([*vae.state_dict().values(), video, latents]) as live:
            call()
        return live.peak

    assert peak(lambda: lean_vae.encode(vae.encoder, video, 1)) < 0.6 * peak(lambda: vae.encoder(video))
    lean = peak(lambda: lean_vae.decode_piece(vae.decoder, latents, {}, 1))
    assert lean < 0.6 * peak(lambda: vae.decoder(latents))
