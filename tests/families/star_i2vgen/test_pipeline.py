"""The published STAR's pipeline at tiny size: from files to frames, our choices and the released ones.

The numbers of the whole path are checked in tests/parity (pipeline_small).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import starvsr
from starvsr.errors import OptionError, WeightsError
from starvsr.families import registry
from starvsr.families.loading import load_upscaler
from starvsr.families.options import UpscaleOptions
from starvsr.families.star_i2vgen import load as loading_published
from starvsr.families.star_i2vgen.load import load as load_model
from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.families.star_i2vgen.reference import ReferenceQuirks
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights.cache import Places
from starvsr.models.weights.locate import find_model
from starvsr.padding import Padding
from tests.support.bfloat16 import needs_bfloat16
from tests.training.tiny import random_tensors

UNET = StarUNetConfig(
    width=32, multipliers=(1, 1), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(), context_dim=16,
    temporal_stages=(1, 1), dropout=0.0,
)  # fmt: skip
VAE = TemporalVaeConfig(channels=(32, 32, 32, 32), layers_per_block=2)
TOWER = TextTowerConfig(width=16, heads=2, blocks=1)
MERGES = Path(__file__).parents[2] / "parity" / "data" / "clip_merges.txt.gz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `starvsr models convert` lays it out."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("unet", "vae", "text_encoder", "tokenizer"):
        (folder / name).mkdir()
    save_file(random_tensors(StarUNet(UNET), 1), folder / "unet" / "diffusion_pytorch_model.safetensors")
    torch.save({"state_dict": StarUNet(UNET).state_dict()}, folder / "light_deg.pt")
    save_file(random_tensors(TemporalVae(VAE), 2), folder / "vae" / "diffusion_pytorch_model.safetensors")
    sizes = {"block_out_channels": VAE.channels, "layers_per_block": 2, "latent_channels": 4, "scaling_factor": 0.18215}
    (folder / "vae" / "config.json").write_text(json.dumps(sizes))
    save_file(random_tensors(TextTower(TOWER), 3), folder / "text_encoder" / "model.safetensors")
    (folder / "tokenizer" / "merges.txt").write_bytes(MERGES.read_bytes())
    (folder / "model_index.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "star-light", dataclasses.replace(registry.MODELS["star-light"], unet=UNET))
    monkeypatch.setattr(loading_published, "TEXT_TOWER", TOWER)


def load_published(name: str, **settings: Any) -> StarI2VGenPipeline:
    """The pipeline of a job that asks for nothing beyond what the model is loaded with."""
    return load_model(registry.get_spec(name, StarI2VGenSpec), **settings).pipeline()


@pytest.fixture
def pipeline(folder: Path) -> StarI2VGenPipeline:
    return load_published("star-light", weights=folder)


def _clip(num_frames: int = 2, height: int = 3, width: int = 5) -> torch.Tensor:
    return torch.rand(1, 3, num_frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 20, 16), (3, 7, 5)])
def test_any_clip_comes_out_four_times_larger(pipeline: StarI2VGenPipeline, size: tuple[int, int, int]) -> None:
    steps: list[tuple[int, int]] = []
    hq = pipeline.upscale_clip(_clip(*size), num_steps=2, on_step=lambda i, n: steps.append((i, n)))
    assert hq.shape == (1, 3, size[0], 4 * size[1], 4 * size[2]) and hq.dtype == torch.float32
    assert hq.isfinite().all() and hq.abs().max() <= 1 and hq.std() > 0.01
    assert steps == [(1, 2), (2, 2)]


def test_kept_frames_are_those_of_the_whole(pipeline: StarI2VGenPipeline) -> None:
    whole = pipeline.upscale_clip(_clip(5), seed=3, num_steps=1)
    kept = list(pipeline.upscale_frames(_clip(5), slice(1, 4), seed=3, num_steps=1))
    assert torch.equal(torch.stack(kept, 1), whole[0, :, 1:4])


def test_seed_and_frame_make_the_noise(pipeline: StarI2VGenPipeline) -> None:
    one = pipeline.upscale_clip(_clip(), seed=1, num_steps=2)
    assert torch.equal(one, pipeline.upscale_clip(_clip(), seed=1, num_steps=2))
    for other in ({"seed": 2}, {"seed": 1, "first_frame": 1}):
        assert not torch.equal(one, pipeline.upscale_clip(_clip(), num_steps=2, **other))


@pytest.mark.parametrize("join", ["blend", "released"])
@pytest.mark.parametrize("num_frames", [4, 5, 7])
def test_clips_longer_than_a_window(folder: Path, join: str, num_frames: int) -> None:
    """A window and a bit more is where the released code stops with an error."""
    pipeline = load_published("star-light", weights=folder, window=4, window_join=join)
    seen: list[int] = []
    hook = pipeline.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2]))
    hq = pipeline.upscale_clip(_clip(num_frames), num_steps=1)
    hook.remove()
    assert hq.shape[2] == num_frames and hq.isfinite().all()
    assert max(seen) <= 5 and (len(seen) > 2) == (num_frames > 5)


def test_guidance_of_one_asks_the_network_once(folder: Path) -> None:
    calls: list[int] = []
    for guidance, expected in ((1.0, 2), (7.5, 4)):
        pipeline = load_published("star-light", weights=folder, guidance=guidance)
        calls.clear()
        pipeline.network.register_forward_pre_hook(lambda *_: calls.append(1))
        pipeline.upscale_clip(_clip(1), num_steps=2)
        assert len(calls) == expected


def test_step_lists() -> None:
    schedule = starvsr.diffusion.schedules.star_schedule()
    assert torch.equal(Sampling().levels(schedule, FAST_STEPS), schedule.fast())
    assert torch.equal(Sampling().levels(schedule, 15), schedule.normal(15))
    assert torch.equal(Sampling(step_list="normal").levels(schedule, FAST_STEPS), schedule.normal(FAST_STEPS))
    with pytest.raises(OptionError, match="--step-list fast"):
        Sampling(step_list="fast").levels(schedule, 15)


def test_settings_of_speed_reach_the_model(folder: Path, pipeline: StarI2VGenPipeline) -> None:
    settings = {"guidance_interval": "300:700", "guidance_pair": "together", "feature_cache": 3, "attention": "math"}
    upscaler: Any = load_upscaler("star-light", device="cpu", weights=str(folder), **settings)
    upscaler = upscaler.pipeline()
    sampling = upscaler.sampling
    assert (sampling.guidance_interval, sampling.guidance_pair, sampling.feature_cache) == ((300, 700), "together", 3)
    hq = upscaler.upscale_clip(_clip(), num_steps=3)
    assert hq.isfinite().all() and not torch.equal(hq, pipeline.upscale_clip(_clip(), num_steps=3))
    with pytest.raises(OptionError, match="--feature-cache"):
        load_upscaler("star-small", feature_cache=2)
    with pytest.raises(OptionError, match="--attention efficient"):
        load_upscaler("star-light", device="cpu", weights=str(folder), attention="efficient")


def test_the_prompts_reach_the_network(folder: Path, pipeline: StarI2VGenPipeline) -> None:
    base = pipeline.upscale_clip(_clip(1), num_steps=1)
    for words in ({"prompt": "a red barn"}, {"negative_prompt": "fog"}, {"prompt_join": "released"}):
        other = load_published("star-light", weights=folder, **words)  # type: ignore[arg-type]
        assert not torch.equal(other.upscale_clip(_clip(1), num_steps=1), base)


def test_every_choice_changes_something(folder: Path, pipeline: StarI2VGenPipeline) -> None:
    base = pipeline.upscale_clip(_clip(9), num_steps=1)
    for name in ("window_join", "decode_groups", "rounding", "noise"):
        other = load_published("star-light", weights=folder, window=6, **{name: "released"})  # type: ignore[arg-type]
        ours = load_published("star-light", weights=folder, window=6)
        given = base if name != "window_join" else ours.upscale_clip(_clip(9), num_steps=1)
        assert not torch.equal(other.upscale_clip(_clip(9), num_steps=1), given), name


def test_exact_pads_in_white_to_720p(folder: Path) -> None:
    pipeline = load_published("star-light", weights=folder, exact=True)
    assert pipeline.padding(480, 640) == Padding(320, 320, 120, 120)
    assert pipeline.codec.group == 3 and pipeline.codec.overlap == 0


def test_released_rounding_gives_whole_levels_in_the_inputs_colours(folder: Path) -> None:
    pipeline = load_published("star-light", weights=folder, exact=True, padding="minimal")
    assert pipeline.traits.color == "none"
    hq = pipeline.upscale_clip(_clip(3, 20, 16), num_steps=1)
    levels = (hq + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-3
    means = [clip.mean((0, 3, 4)) for clip in (hq, _clip(3, 20, 16))]
    assert (means[0] - means[1]).abs().max() < 0.03


@needs_bfloat16
def test_bfloat16_is_close_to_float32(folder: Path, pipeline: StarI2VGenPipeline) -> None:
    half = load_published("star-light", weights=folder, precision="bf16")
    assert half.dtype == torch.bfloat16 and half.codec.decode_dtype is None
    difference = half.upscale_clip(_clip(), num_steps=1) - pipeline.upscale_clip(_clip(), num_steps=1)
    assert 0 < difference.abs().mean() < 0.1


def test_a_checkpoint_file_takes_the_place_of_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = registry.MODELS["star-light"]
    monkeypatch.setenv("STARVSR_MODELS", str(folder))
    with pytest.raises(WeightsError, match="starvsr models fetch star-light"):
        find_model(spec, folder / "light_deg.pt", Places(cache=folder / "empty"))
    files = {**find_model(spec, folder), "unet": folder / "light_deg.pt"}
    assert load_published("star-light", files=files).traits.digest
    with pytest.raises(WeightsError, match="no weights"):
        load_published("star-light", files={**files, "unet": folder / "gone.pt"})


def test_weights_of_another_size_are_named(folder: Path) -> None:
    registry.MODELS["star-light"] = dataclasses.replace(
        registry.MODELS["star-light"], unet=dataclasses.replace(UNET, context_dim=8)
    )
    with pytest.raises(WeightsError, match="of another shape"):
        load_published("star-light", weights=folder)


def test_options_reach_the_model_and_others_are_refused(folder: Path) -> None:
    upscaler: Any = load_upscaler(
        "star-light", device="cpu", weights=str(folder), guidance=3.0, padding="released", exact=False
    )
    upscaler = upscaler.pipeline()
    assert upscaler.sampling.guidance == 3.0
    assert upscaler.sampling.choices == ReferenceQuirks(padding="released")
    with pytest.raises(OptionError, match="--exact"):
        load_upscaler("star-small", exact=True)
    with pytest.raises(OptionError, match="--rounding nearest"):
        UpscaleOptions(model="star-light", exact=True, color="wavelet")
    UpscaleOptions(model="star-light", exact=True, rounding="nearest", color="wavelet")


@pytest.mark.parametrize("exact", [False, True])
def test_from_a_file_to_a_file(folder: Path, tmp_path: Path, exact: bool) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 255, (18, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / f"{index:03}.png")
    options: dict[str, Any] = {"exact": True, "padding": "minimal", "seed": 666} if exact else {}
    result = starvsr.upscale(
        tmp_path / "in", tmp_path / "out.mp4", model="star-light", weights=str(folder), steps=1, device="cpu", **options
    )
    assert (result.num_frames, result.width, result.height) == (4, 96, 72)
    assert result.provenance["model"] == "star-light" and result.provenance["steps"] == 1
    assert starvsr.probe(tmp_path / "out.mp4").width == 96
