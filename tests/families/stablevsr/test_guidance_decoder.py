"""The small decoder for the guidance: what it replaces and what not, what a job tells of it, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import starvsr
from starvsr.apps.cli import main
from starvsr.errors import OptionError, StarVsrError, WeightsError
from starvsr.families.stablevsr.footprint import DECODE, SAMPLE
from starvsr.families.stablevsr.guidance_decoder import (
    GuidanceDecoder,
    GuidanceDecoderConfig,
    fingerprint,
    is_same_autoencoder,
)
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.offload.footprint import ClipSize
from starvsr.video.codec_pass import write_lossless
from tests.families.stablevsr.clips import clip, run
from tests.families.stablevsr.test_footprint import StillFlow, counted
from tests.families.stablevsr.test_load import change, load
from tests.jobs.interrupting import break_at, run_to_end
from tests.support.bfloat16 import needs_bfloat16
from tests.support.stablevsr_guidance_decoder import SIZES, TENSORS, write_decoder

MB = 2**20


@pytest.fixture(scope="module")
def decoder(published, tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoder"), published)


@pytest.fixture
def own(published, tmp_path):
    """A decoder that a test may damage."""
    return write_decoder(tmp_path / "own", published)


@pytest.fixture(scope="module")
def small(published, decoder):
    return load(published, guidance_decoder=decoder)


def by_hand(tensors: dict[str, torch.Tensor], latent: torch.Tensor) -> torch.Tensor:
    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    def larger(x: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = x.shape
        apart = x.view(count, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return apart.reshape(count, channels // 4, 2 * height, 2 * width)

    def swish(x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)

    x = conv(latent, "first")
    for block in ("blocks.0", "blocks.1"):
        x = x + conv(swish(conv(x, f"{block}.first")), f"{block}.second")
    x = larger(conv(x, "up"))
    x = x + conv(swish(conv(x, "up_blocks.0.first")), "up_blocks.0.second")
    return conv(larger(swish(conv(x, "fine"))), "last")


def test_it_is_the_network_that_its_file_says(small, decoder):
    latent = torch.randn(1, 4, 8, 12)
    wanted = by_hand(load_file(decoder / "guidance_decoder" / TENSORS), latent)
    torch.testing.assert_close(small._loaded.guide(latent), wanted, rtol=1e-4, atol=1e-5)


def test_the_published_size_is_small_and_float16_holds_it():
    """Latents far beyond what occurs are cut off, so nothing overflows."""
    torch.manual_seed(0)
    network = GuidanceDecoder().eval()
    assert 500_000 < sum(parameter.numel() for parameter in network.parameters()) < 1_000_000
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.03)
    latents = torch.cat([torch.randn(1, 4, 16, 16), 1e5 * torch.randn(1, 4, 16, 16)])
    with torch.no_grad():
        whole, half = network(latents), network.half()(latents)
    assert whole.dtype == half.dtype == torch.float32 and whole.shape == (2, 3, 64, 64)
    assert half.isfinite().all()
    for one, other in zip(whole, half, strict=True):
        assert (one - other).abs().max() < 0.02 * one.abs().max()


def test_fresh_weights_have_no_grid():
    """Sub-pixels of one cell are equal at first: no pattern of period 2 or 4 away from the borders."""
    network = GuidanceDecoder(GuidanceDecoderConfig(width=8, up_width=8, thin_width=4))
    inner = network(torch.ones(1, 4, 16, 16)).detach()[..., 16:-16, 16:-16]
    assert float(inner.std(dim=(2, 3)).max()) < 1e-6


def test_only_the_guidance_is_decoded_by_it(small, model):
    """The first frame of a pass has no neighbour; a clip of one frame is what it is without."""
    lq = clip(3)
    made, plain = run(small, lq, steps=1), run(model, lq, steps=1)
    assert torch.equal(made[0], plain[0]) and not torch.equal(made[1], plain[1])
    assert torch.equal(run(small, lq[:, :, :1]), run(model, lq[:, :, :1]))
    unguided = {"texture_scale": 0.0}
    assert torch.equal(run(small, lq, **unguided), run(model, lq, **unguided))


def test_a_decoder_that_is_the_models_own_changes_nothing(small, model, monkeypatch):
    """The option replaces one call and nothing else."""
    monkeypatch.setattr(GuidanceDecoder, "forward", lambda self, latent: model._loaded.decoder(latent))
    assert torch.equal(run(small, clip(3)), run(model, clip(3)))


@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=needs_bfloat16), "int8"])
def test_it_has_the_number_type_of_the_networks(published, decoder, precision):
    loaded = load(published, guidance_decoder=decoder, precision=precision)._loaded
    assert {parameter.dtype for parameter in loaded.guide.parameters()} == {loaded.dtype}
    assert {parameter.dtype for parameter in loaded.decoder.parameters()} == {torch.float32}


def test_a_model_folder_may_hold_it(folder, published, decoder):
    write_decoder(folder, published)
    whole = load(folder, guidance_decoder=folder)
    inner = load(folder, guidance_decoder=folder / "guidance_decoder")
    assert torch.equal(run(whole, clip(2), steps=1), run(inner, clip(2), steps=1))
    assert load(folder)._loaded.guidance_decoder is None  # off unless it is asked for


def convert(model: Path, out: Path, *words: str) -> int:
    """By the command, from a folder that STARVSR_MODELS would name."""
    return main(["models", "convert", "stablevsr", "-o", str(out), "--folder", str(model.parent), *words])


def test_a_converted_model_folder_carries_it(folder, published, decoder, tmp_path, capsys):
    """With what it says and does; a model without one has none after it."""
    model = shutil.copytree(folder, tmp_path / "models" / "stablevsr")
    assert convert(model, tmp_path / "plain") == 0 and not (tmp_path / "plain" / "guidance_decoder").exists()
    shutil.copytree(decoder / "guidance_decoder", model / "guidance_decoder")
    whole, half, bf16 = (tmp_path / name for name in ("whole", "half", "bf16"))
    capsys.readouterr()
    assert convert(model, whole) == 0 == convert(model, half, "--dtype", "fp16")
    assert "guidance_decoder/config.json" in capsys.readouterr().out
    assert convert(model, bf16, "--dtype", "bf16") == 0
    for out in (whole, half, bf16):
        written, given = (place / "guidance_decoder" / "config.json" for place in (out, decoder))
        assert json.loads(written.read_text()) == json.loads(given.read_text())
        assert "guidance_decoder" in json.loads((out / "model_index.json").read_text())
        load(out, guidance_decoder=out)
    tensors, given = (load_file(place / "guidance_decoder" / TENSORS) for place in (whole, decoder))
    assert all(torch.equal(tensors[name], given[name]) for name in given) and len(tensors) == len(given)
    assert load(whole)._loaded.guidance_decoder is None


@pytest.mark.parametrize(
    ("name", "entries", "words"),
    [
        ("config.json", {}, "holds diffusion_pytorch_model.safetensors alone"),
        (TENSORS, {}, "holds config.json alone"),
        (None, {"scaling_factor": 0.5}, "trained beside another autoencoder"),
    ],
)
def test_half_a_decoder_and_one_of_another_model_are_not_converted(
    folder, decoder, tmp_path, capsys, name, entries, words
):
    model = shutil.copytree(folder, tmp_path / "models" / "stablevsr")
    place = shutil.copytree(decoder / "guidance_decoder", model / "guidance_decoder")
    if name is not None:
        (place / name).unlink()
    else:
        change(place / "config.json", **entries)
    assert convert(model, tmp_path / "out") != 0
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_it_is_part_of_what_a_job_is_known_by(model, small, published, tmp_path):
    other = load(published, guidance_decoder=write_decoder(tmp_path, published, seed=4))
    also_tcm = load(published, guidance_decoder=tmp_path, tcm=published)
    digests = [each.traits.digest for each in (model, small, other, also_tcm)]
    assert len(set(digests)) == 4
    assert small.traits.fixed_bytes > model.traits.fixed_bytes


def test_outputs_tell_of_it(published, decoder, tmp_path, capsys):
    write_lossless(tmp_path / "in.mkv", (np.random.default_rng(0).random((3, 32, 32, 3)) * 255).astype(np.uint8))
    words = ["upscale", str(tmp_path / "in.mkv"), "--model", "stablevsr", "--weights", str(published), "--flow", "dis"]
    words += ["--steps", "1", "--guidance-decoder", str(decoder)]
    assert main([*words, "-o", str(tmp_path / "out.mkv")]) == 0
    told = capsys.readouterr()
    assert "small decoder of --guidance-decoder" in told.out + told.err
    tags = {key.lower(): value for key, value in starvsr.probe(tmp_path / "out.mkv").metadata.items()}
    assert json.loads(tags["comment"])["options"]["guidance_decoder"] is True
    assert str(tmp_path) not in tags["comment"] and str(decoder.parent) not in tags["comment"]


def test_a_job_goes_on_with_the_same_decoder_elsewhere_and_with_no_other(published, decoder, tmp_path, monkeypatch):
    source = tmp_path / "in.mkv"
    frames = (np.random.default_rng(0).random((16, 32, 32, 3)) * 255).astype(np.uint8)
    write_lossless(source, frames, frame_rate=2)
    moved = shutil.copytree(decoder, tmp_path / "decoder")
    options = {"model": "stablevsr", "flow": "dis", "steps": 1, "segment": 4, "overlap": 1, "weights": published}
    run_to_end(source, tmp_path / "whole.mkv", guidance_decoder=moved, **options)
    break_at(source, tmp_path / "cut.mkv", 9, guidance_decoder=moved, **options)
    shutil.copytree(decoder, tmp_path / "elsewhere")
    path = moved / "guidance_decoder" / TENSORS
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
    for note in path.parent.glob("*.sha256"):
        note.unlink()
    for other in (moved, None):
        with pytest.raises(StarVsrError, match="weights"):
            run_to_end(source, tmp_path / "cut.mkv", guidance_decoder=other, **options)
    monkeypatch.chdir(tmp_path)
    run_to_end(source, tmp_path / "cut.mkv", guidance_decoder=Path("elsewhere"), **options)
    assert (tmp_path / "cut.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


@pytest.mark.parametrize(("frames", "height", "width", "at_once"), [(3, 36, 44, 1), (2, 40, 40, 2), (2, 52, 32, 4)])
def test_the_prediction_is_what_is_counted(published, decoder, frames, height, width, at_once):
    model = load(published, guidance_decoder=decoder)
    object.__setattr__(model._loaded, "flow", StillFlow())
    pipeline, plan, size = model.pipeline(), StableVSRPlan(frames_at_once=at_once), ClipSize(frames, height, width)
    pipeline.memory.apply_plan(plan)
    found, _ = counted(pipeline, clip(frames, height, width))
    peak = replace(pipeline.memory.footprint, directions=1).peak(SAMPLE, size, plan)
    predicted = peak.clip - 12 * frames * height * width + peak.work
    assert 0.97 * found <= predicted <= 1.12 * found + MB // 4


def test_the_plan_no_longer_has_the_peak_of_the_full_decoder(small, model):
    size = ClipSize(8, 180, 320)
    own, full = (each.pipeline().memory.footprint for each in (small, model))
    assert own.calls.guide.at(size) < 0.2 * full.calls.guide.at(size)
    assert own.calls.decode == full.calls.decode
    own, full = (replace(each, device="cuda") for each in (own, full))
    assert own.uses[SAMPLE][-1] == "guide" and own.uses[DECODE] == ("decoder",)
    for place in ("offload", "stream"):
        assert own.weights(place, SAMPLE) < full.weights(place, SAMPLE)
        assert own.peak(SAMPLE, size, StableVSRPlan(place)).work < full.peak(SAMPLE, size, StableVSRPlan(place)).work


def refused(folder: Path, decoder: Path) -> str:
    with pytest.raises((WeightsError, OptionError)) as caught:
        load(folder, guidance_decoder=decoder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def nothing_is_computed(monkeypatch):
    def fail(*_):
        raise AssertionError("something was computed before the refusal")

    monkeypatch.setattr("starvsr.families.stablevsr.load.encode_text", fail)


@pytest.mark.usefixtures("nothing_is_computed")
class TestRefusals:
    def test_of_folders_without_one(self, published, own, tmp_path):
        for place in (tmp_path / "nowhere", tmp_path, published):
            message = refused(published, place)
            assert str(place) in message and "no decoder for the guidance" in message and "starvsr train" in message
        assert "is of a ControlNetModel" in refused(published, published / "controlnet")
        assert "is of a AutoencoderKL" in refused(published, published / "vae")

    @pytest.mark.parametrize("name", ["config.json", TENSORS])
    def test_of_a_missing_file(self, published, own, name):
        (own / "guidance_decoder" / name).unlink()
        assert name in refused(published, own)

    @pytest.mark.parametrize(
        ("entries", "words"),
        [
            ({"latent_channels": 16}, "decodes 16 channels, and this model's latents have 4"),
            ({"scaling_factor": 0.18215}, "latents scaled by 0.18215"),
            ({"scaling_factor": None}, "latents scaled by None"),
            ({"vae_fingerprint": "0123456789abcdef"}, "trained beside another autoencoder"),
            ({"width": "wide"}, "width of a decoder for guidance must be a whole number from 1"),
            ({"width": 0}, "width of a decoder"),
            ({"num_blocks": -1}, "num_blocks of a decoder for guidance must be a whole number from 0"),
            ({"width": 12}, "does not fit"),
            ({"num_blocks": 3}, "does not fit"),
            ({"_class_name": "AutoencoderTiny"}, "is of a AutoencoderTiny"),
        ],
    )
    def test_of_a_configuration_that_does_not_fit(self, published, own, entries, words):
        change(own / "guidance_decoder" / "config.json", **entries)
        message = refused(published, own)
        assert words in message and str(own) in message

    @pytest.mark.parametrize("name", ["width", "latent_channels"])
    def test_of_a_configuration_that_lacks_a_size(self, published, own, name):
        path = own / "guidance_decoder" / "config.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name}))
        assert f"lacks {name}" in refused(published, own)

    @pytest.mark.parametrize("content", ["", "[1]", "{"])
    def test_of_a_configuration_that_is_no_json_object(self, published, own, content):
        (own / "guidance_decoder" / "config.json").write_text(content)
        assert "config.json" in refused(published, own)

    @pytest.mark.parametrize("cut", [0, 100, 2000])
    def test_of_a_file_that_ends_too_early(self, published, own, cut):
        path = own / "guidance_decoder" / TENSORS
        path.write_bytes(path.read_bytes()[:cut])
        assert str(path) in refused(published, own)


def test_it_is_an_option_of_stablevsr_alone(decoder, tmp_path, capsys):
    write_lossless(tmp_path / "in.mkv", np.zeros((2, 32, 32, 3), np.uint8))
    words = ["upscale", str(tmp_path / "in.mkv"), "-o", str(tmp_path / "o.mkv"), "--model", "star-small"]
    assert main([*words, "--guidance-decoder", str(decoder)]) != 0
    assert "--guidance-decoder" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fingerprints_do_not_depend_on_the_number_type(model, published, dtype):
    first = fingerprint(model._loaded.vae)
    rounded = load(published)._loaded.vae.to(dtype)
    assert is_same_autoencoder(first, fingerprint(rounded)) and is_same_autoencoder(first, fingerprint(rounded.float()))
    assert SIZES["latent_channels"] == 4
    rounded.decoder.conv_in.weight.mul_(1.02)
    assert not is_same_autoencoder(first, fingerprint(rounded))
    other = load(published)._loaded.vae
    other.decoder.conv_in.bias.neg_()
    assert not is_same_autoencoder(first, fingerprint(other))
    for damaged in ("", first.partition("-")[0], first.replace("-", ""), f"{first}x"):
        assert not is_same_autoencoder(damaged, first)
