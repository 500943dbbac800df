import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from starvsr.families.stablevsr.decoder import FrameDecoder, SlicedAttention
from starvsr.families.stablevsr.inference import InferenceNetworks
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.offload.trace import LiveBytes
from tests.families.stablevsr.clips import clip, run
from tests.support.bfloat16 import needs_bfloat16


@pytest.fixture(scope="module")
def loaded(model):
    return model.pipeline().loaded


@pytest.fixture(scope="module")
def text(model):
    return model.pipeline().networks.texts[0]


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(32, 32), (36, 44), (33, 50)])
@pytest.mark.parametrize("guided", [True, False])
@torch.inference_mode()
def test_the_halves_give_what_the_whole_unet_gives(loaded, text, size, guided):
    """Sizes that are no multiples of 8 are enlarged to those of the skips."""
    x, lq = noise(3, 4, *size), noise(3, 3, *size, seed=1)
    guide = noise(1, 3, 4 * size[0], 4 * size[1], seed=2) if guided else None
    whole = DiffusersNetworks(loaded.unet, loaded.tcm, loaded.vae, text)
    halves = InferenceNetworks(loaded.unet, loaded.tcm, loaded.decoder, (text,), 1.0, torch.float32)
    states = halves.encode(x, lq, 321)
    for index, state in enumerate(states):
        part = slice(index, index + 1)
        expected = whole.predict(x[part], lq[part], 321, guide, 0.7)
        torch.testing.assert_close(halves.finish(state, 321, guide, 0.7), expected, atol=2e-5, rtol=1e-5)


@torch.inference_mode()
def test_guidance_goes_from_the_second_text_towards_the_first(loaded, text):
    x, lq, guide = noise(1, 4, 32, 32), noise(1, 3, 32, 32, seed=1), noise(1, 3, 128, 128, seed=2)
    other = noise(*text.shape, seed=3)
    one, two = (
        DiffusersNetworks(loaded.unet, loaded.tcm, loaded.vae, each).predict(x, lq, 500, guide, 1.0)
        for each in (text, other)
    )
    networks = InferenceNetworks(loaded.unet, loaded.tcm, loaded.decoder, (text, other), 3.0, torch.float32)
    torch.testing.assert_close(networks.predict(x, lq, 500, guide, 1.0), two + 3 * (one - two), atol=1e-4, rtol=1e-4)


def test_frames_at_once_change_nothing_but_rounding(model):
    made = []
    for count in (0, 1, 2, 4):
        pipeline = model.pipeline()
        pipeline.memory.apply_plan(pipeline.memory.footprint.plan_from({"frames_at_once": count}))
        made.append(torch.stack(list(pipeline.upscale_frames(clip(5), slice(None), num_steps=2))))
    for each in made[1:]:
        torch.testing.assert_close(each, made[0], atol=2e-4, rtol=0)
    assert torch.equal(made[0], made[1]) or float((made[0] - made[1]).abs().max()) < 1e-4


@pytest.mark.parametrize("max_scores", [1, 1000, 1 << 20])
@torch.inference_mode()
def test_slices_of_queries_give_the_same_attention(loaded, max_scores):
    attention = loaded.decoder.decoder.mid_block.attentions[0]
    features = noise(1, attention.to_q.in_features, 9, 14)
    whole = attention.processor(attention, features)
    from diffusers.models.attention_processor import AttnProcessor2_0

    torch.testing.assert_close(whole, AttnProcessor2_0()(attention, features), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(SlicedAttention(max_scores)(attention, features), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_table_of_every_pixel_against_every_other_exists(loaded):
    """Even where torch's attention has no fused kernel: slices hold a few rows of the table at a time."""
    attention = loaded.decoder.decoder.mid_block.attentions[0]
    side = 48
    features = noise(1, attention.to_q.in_features, side, side)
    table = 4 * side**4
    peaks = []
    for max_scores in (1 << 40, table // 4 // 16):
        counted = LiveBytes([*attention.parameters(), features])
        with sdpa_kernel(SDPBackend.MATH), counted:
            SlicedAttention(max_scores)(attention, features)
        peaks.append(counted.peak)
    assert peaks[0] > table > 3 * peaks[1]


@torch.inference_mode()
def test_the_decoder_gives_what_the_autoencoder_gives(loaded):
    latent = noise(1, 4, 33, 34)
    (expected,) = loaded.vae.decode(latent / loaded.vae.config.scaling_factor, return_dict=False)
    torch.testing.assert_close(loaded.decoder(latent), expected, atol=2e-5, rtol=1e-5)


@needs_bfloat16
@torch.inference_mode()
def test_the_decoder_in_half_precision_stays_near(loaded):
    latent = noise(1, 4, 33, 34)
    (expected,) = loaded.vae.decode(latent / loaded.vae.config.scaling_factor, return_dict=False)
    half = FrameDecoder(loaded.vae, torch.bfloat16)(latent)
    assert half.dtype == torch.float32 and 0 < float((half - expected).abs().max()) < 0.3


def test_conditioning_every_so_many_steps_goes_both_ways(model):
    """Guided steps alternate between forwards and backwards, so neither direction is lost."""
    from starvsr.families.stablevsr.sampling import Guidance

    for every in (1, 2, 3, 4, 5):
        guided = [step for step in range(20) if Guidance(every=every).scale_at(step, 20)]
        assert [step % 2 for step in guided] == [index % 2 for index in range(len(guided))]
        assert len(guided) == len({step // every for step in guided}) and len(guided) in (20 // every, -(-20 // every))
    assert not torch.equal(run(model, clip(3), steps=4), run(model, clip(3), steps=4, texture_every=2))
