"""The STAR pipeline with a tiny network and random weights: sizes, determinism, noise, precision, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from starvsr.errors import OptionError, WeightsError
from starvsr.families import registry
from starvsr.families.job_settings import job_settings
from starvsr.families.options import UpscaleOptions
from starvsr.families.star_small.pipeline import StarSmallUpscaler
from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.models.star.small.config import StarSmallConfig
from starvsr.models.star.small.model import StarSmall
from starvsr.models.weights import read_tensors, save_weights
from tests.support.bfloat16 import needs_bfloat16

TINY = dataclasses.replace(
    registry.STAR_SMALL,
    name="tiny",
    samples=True,
    network=StarSmallConfig(
        in_channels=48, out_channels=48, width=8, multipliers=(1, 2), num_res_blocks=(0, 1), head_dim=8,
        first_heads=0, attn_scales=(), context_dim=8, norm="channel", temporal_stages=(1, 1), dropout=0.0,
        temporal_padding="repeat", refinement_width=4,
    ),
)  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    torch.manual_seed(0)
    network = StarSmall(TINY.network, TINY.context_tokens)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "tiny.safetensors"
    save_weights(network.state_dict(), path, dtype=torch.float32, metadata={})
    return path


@pytest.fixture
def pipeline(weights: Path) -> StarSmallUpscaler:
    return StarSmallUpscaler.load("tiny", weights=weights, precision="fp32")


def _clip(num_frames: int = 2, height: int = 6, width: int = 9) -> torch.Tensor:
    return torch.rand(1, 3, num_frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 5), (3, 8, 12), (40, 3, 4)])
def test_any_clip_comes_out_four_times_larger(pipeline: StarSmallUpscaler, size: tuple[int, int, int]) -> None:
    frames, height, width = size
    hq = pipeline.upscale_clip(_clip(*size))
    assert hq.shape == (1, 3, frames, 4 * height, 4 * width)
    assert hq.abs().max() <= 1


def test_unknown_models_are_told_all_that_are_known() -> None:
    with pytest.raises(OptionError, match=r"star-big.*star-small, star-light, star-heavy"):
        registry.get_entry("star-big")
    with pytest.raises(OptionError, match="star-light is a model of another kind: this works with star-small"):
        registry.get_spec("star-light", StarSmallSpec)


def test_one_step_draws_no_noise(pipeline: StarSmallUpscaler) -> None:
    a = pipeline.upscale_clip(_clip(), seed=1)
    assert torch.equal(a, pipeline.upscale_clip(_clip(), seed=2, first_frame=9))


def test_sampling_depends_on_seed_and_frame_and_on_nothing_else(pipeline: StarSmallUpscaler) -> None:
    steps: list[tuple[int, int]] = []
    a = pipeline.upscale_clip(_clip(), seed=1, num_steps=3, on_step=lambda i, n: steps.append((i, n)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(a, pipeline.upscale_clip(_clip(), seed=1, num_steps=3))
    for other in ({"seed": 2}, {"seed": 1, "first_frame": 1}):
        assert not torch.equal(a, pipeline.upscale_clip(_clip(), num_steps=3, **other))


@needs_bfloat16
def test_bfloat16_is_close_to_float32(weights: Path, pipeline: StarSmallUpscaler) -> None:
    half = StarSmallUpscaler.load("tiny", weights=weights, precision="bf16")
    difference = half.upscale_clip(_clip()) - pipeline.upscale_clip(_clip())
    assert 0 < difference.abs().max() < 0.05


def test_a_model_without_sampling_has_no_use_for_steps_and_takes_any_seed(
    weights: Path, pipeline: StarSmallUpscaler
) -> None:
    assert "steps" in pipeline.traits.accepts
    registry.MODELS["tiny"] = dataclasses.replace(TINY, samples=False)
    still = StarSmallUpscaler.load("tiny", weights=weights)
    assert "steps" not in still.traits.accepts
    settings, _ = job_settings(still, UpscaleOptions(model="tiny", seed=3))  # the same seed gives the same bytes
    assert settings.seed == 3 and settings.num_steps == 1


def test_weights_of_another_model_are_named(weights: Path) -> None:
    registry.MODELS["wide"] = dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, width=16))
    try:
        with pytest.raises(WeightsError, match="of another shape"):
            StarSmallUpscaler.load("wide", weights=weights)
    finally:
        del registry.MODELS["wide"]


def test_damaged_and_missing_weights(weights: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:200])
    for path, word in ((damaged, "cannot read"), (tmp_path / "none.safetensors", "no weights")):
        with pytest.raises(WeightsError, match=word):
            StarSmallUpscaler.load("tiny", weights=path)


def test_older_weights_have_no_refinement(tmp_path: Path, weights: Path, pipeline: StarSmallUpscaler) -> None:
    older = tmp_path / "older.safetensors"
    tensors = {name: value for name, value in read_tensors(weights).items() if not name.startswith("refinement.")}
    save_weights(tensors, older, dtype=torch.float32, metadata={})
    made = StarSmallUpscaler.load("tiny", weights=older, precision="fp32").upscale_clip(_clip())
    assert made.shape == pipeline.upscale_clip(_clip()).shape
    assert (made - pipeline.upscale_clip(_clip())).abs().mean() > 1e-3


def test_sizes_come_from_the_metadata_of_the_weights(tmp_path: Path, weights: Path) -> None:
    wide = dataclasses.replace(TINY.network, width=16, refinement_width=6)
    path, changes = tmp_path / "wide.safetensors", {"width": 16, "refinement_width": 6, "multipliers": [1, 2]}
    tensors = StarSmall(wide, TINY.context_tokens).state_dict()
    save_weights(tensors, path, dtype=torch.float32, metadata={"network": json.dumps(changes)})
    assert StarSmallUpscaler.load("tiny", weights=path).upscale_clip(_clip()).shape[-1] == 36
    save_weights(tensors, path, dtype=torch.float32, metadata={"network": json.dumps({"depth": 3})})
    with pytest.raises(WeightsError, match="sizes that its network does not have"):
        StarSmallUpscaler.load("tiny", weights=path)


def test_unknown_precision(weights: Path) -> None:
    with pytest.raises(OptionError, match="precision"):
        StarSmallUpscaler.load("tiny", weights=weights, precision="fp8")


@pytest.mark.parametrize("num_steps", [1, 2])
def test_frames_come_one_by_one_as_in_the_clip(pipeline: StarSmallUpscaler, num_steps: int) -> None:
    clip = pipeline.upscale_clip(_clip(5), seed=1, num_steps=num_steps)
    frames = list(pipeline.upscale_frames(_clip(5), slice(1, 4), seed=1, num_steps=num_steps))
    assert torch.allclose(torch.stack(frames, 1).clamp(-1, 1), clip[0, :, 1:4], atol=1e-5)


def test_steps_are_refused_by_a_model_without_sampling(weights: Path) -> None:
    registry.MODELS["tiny"] = dataclasses.replace(TINY, samples=False)
    with pytest.raises(OptionError, match="one step"):
        StarSmallUpscaler.load("tiny", weights=weights).upscale_clip(_clip(), num_steps=2)


def test_the_steps_that_it_takes_anyway_may_be_named_and_no_others() -> None:
    upscaler = StarSmallUpscaler.load("star-small")
    assert job_settings(upscaler, UpscaleOptions(steps=1))[0].num_steps == 1
    with pytest.raises(OptionError, match="star-small has no use for --steps"):
        job_settings(upscaler, UpscaleOptions(steps=4))
