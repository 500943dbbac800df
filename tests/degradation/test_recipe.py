from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr.degradation.presets import CODEC_ONLY, HEAVY, LIGHT, MEDIUM, MIXED, PRESETS, get_recipe
from starvsr.degradation.ranges import DegradationRecipe, RecipeMix
from starvsr.degradation.recipe import apply_plan, degrade_clip, draw_plan, resize_clip
from starvsr.errors import OptionError


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    """Moving bars, rings and fine texture, [5, 3, 128, 160]."""
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(160.0), indexing="ij")
    frames = []
    for shift in range(5):
        x = columns + 3 * shift
        rings = 0.5 + 0.5 * torch.sin(((rows - 64) ** 2 + (x - 80) ** 2) / 250)
        bars = ((x // 9) % 2) * 0.6 + 0.2
        frames.append(torch.stack([rings, bars, 0.5 + 0.3 * torch.sin(rows / 3) * torch.sin(x / 5)]))
    return torch.stack(frames)


def psnr(lq: torch.Tensor, gt: torch.Tensor) -> float:
    up = F.interpolate(lq, size=gt.shape[-2:], mode="bicubic").clamp(0, 1)
    return float(-10 * torch.log10((up - gt).square().mean()))


@pytest.mark.parametrize("name", list(PRESETS))
def test_same_seed_same_bytes_and_another_seed_others(name: str, clip: torch.Tensor) -> None:
    first, again, other = (degrade_clip(clip, name, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", list(PRESETS))
def test_values_lie_on_the_8_bit_grid(name: str, clip: torch.Tensor) -> None:
    lq = degrade_clip(clip, name, np.random.default_rng(0))
    assert lq.dtype == torch.float32 and lq.shape == (5, 3, 32, 40)
    assert lq.min() >= 0 and lq.max() <= 1
    torch.testing.assert_close(lq * 255, (lq * 255).round(), atol=1e-4, rtol=0)


def test_presets_are_ordered_from_light_to_heavy(clip: torch.Tensor) -> None:
    means = [
        np.mean([psnr(degrade_clip(clip, recipe, np.random.default_rng(seed)), clip) for seed in range(12)])
        for recipe in (LIGHT, MEDIUM, HEAVY)
    ]
    assert means[0] > means[1] + 0.5 > means[2] + 1.0


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(4, 45),
    width=st.integers(4, 45),
    num_frames=st.integers(1, 3),
    name=st.sampled_from(sorted(PRESETS)),
    seed=st.integers(0, 1000),
)
def test_any_size_and_length(height: int, width: int, num_frames: int, name: str, seed: int) -> None:
    gt = torch.rand(num_frames, 3, height, width, generator=torch.Generator().manual_seed(seed))
    lq = degrade_clip(gt, name, np.random.default_rng(seed))
    assert lq.shape == (num_frames, 3, height // 4, width // 4)
    assert torch.isfinite(lq).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scale_sets_the_size(scale: int, clip: torch.Tensor) -> None:
    lq = degrade_clip(clip, "light", np.random.default_rng(0), scale)
    assert lq.shape == (5, 3, 128 // scale, 160 // scale)


def test_bytes_and_floats_give_the_same(clip: torch.Tensor) -> None:
    as_bytes = (clip * 255).round().to(torch.uint8)
    first = degrade_clip(as_bytes, "medium", np.random.default_rng(0))
    second = degrade_clip(as_bytes.float() / 255, "medium", np.random.default_rng(0))
    assert torch.equal(first, second)


def test_the_input_is_left_alone(clip: torch.Tensor) -> None:
    before = clip.clone()
    degrade_clip(clip, "heavy", np.random.default_rng(0))
    assert torch.equal(clip, before)


def test_draws_hold_for_the_whole_clip(clip: torch.Tensor) -> None:
    """A still clip without noise and codec must stay still: nothing is drawn per frame but noise."""
    still = clip[:1].expand(5, -1, -1, -1)
    for seed in range(8):
        plan = draw_plan(HEAVY, np.random.default_rng(seed))
        assert plan.second is not None
        quiet = dataclasses.replace(
            plan,
            first=dataclasses.replace(plan.first, noise=None),
            second=dataclasses.replace(plan.second, noise=None),
            codec_between=None,
            codec_final=None,
        )
        lq = apply_plan(still, quiet, np.random.default_rng(0))
        assert torch.equal(lq, lq[:1].expand_as(lq))


def test_noise_is_new_in_every_frame(clip: torch.Tensor) -> None:
    still = clip[:1].expand(3, -1, -1, -1)
    plan = draw_plan(HEAVY, np.random.default_rng(1))
    noisy = dataclasses.replace(plan, codec_between=None, codec_final=None)
    lq = apply_plan(still, noisy, np.random.default_rng(0))
    assert not torch.equal(lq[0], lq[1])


def test_lq_lies_on_the_gt() -> None:
    """The centre of a disc stays where it is: no stage may shift the picture."""
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    disc = torch.sigmoid(12 - torch.hypot(rows - 71, columns - 51)).expand(1, 3, 128, 128)
    for recipe in (LIGHT, MEDIUM, CODEC_ONLY, HEAVY):
        centres = []
        for seed in range(10):
            lq = degrade_clip(disc, recipe, np.random.default_rng(seed))[0].mean(0)
            weight = (lq - 0.35).clamp(min=0)
            weight = weight * (
                torch.hypot(*torch.meshgrid(torch.arange(32.0) - 17.4, torch.arange(32.0) - 12.4, indexing="ij")) < 8
            )
            rows_lq, columns_lq = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
            centres.append([(rows_lq * weight).sum() / weight.sum(), (columns_lq * weight).sum() / weight.sum()])
        mean = np.mean(np.array(centres), axis=0)
        np.testing.assert_allclose(mean, [(71 + 0.5) / 4 - 0.5, (51 + 0.5) / 4 - 0.5], atol=0.15)


def test_mix_draws_by_weight() -> None:
    rng = np.random.default_rng(0)
    mix = RecipeMix("two", (LIGHT, HEAVY), (1.0, 3.0))
    names = [mix.draw(rng).name for _ in range(1000)]
    assert names.count("heavy") == pytest.approx(750, abs=50)
    assert {MIXED.draw(rng).name for _ in range(200)} == {"light", "medium", "heavy", "codec"}


def test_presets_are_frozen_and_named_as_filed() -> None:
    for name, recipe in PRESETS.items():
        assert recipe.name == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIGHT.name = "other"  # type: ignore[misc]
    assert isinstance(PRESETS["heavy"], DegradationRecipe)


def test_resize_modes() -> None:
    clip = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert resize_clip(clip, (16, 16), "area") is clip
    plain, smooth = resize_clip(clip, (4, 4), "bilinear"), resize_clip(clip, (4, 4), "bilinear_aa")
    assert smooth.std() < plain.std()


def test_a_mix_of_presets_by_their_names() -> None:
    mix = get_recipe("light:1, mixed:3")
    assert isinstance(mix, RecipeMix)
    assert mix.recipes == (LIGHT, *MIXED.recipes)
    assert sum(mix.weights) == pytest.approx(4) and mix.weights[0] == 1
    assert mix.weights[1:] == pytest.approx([3 * weight / sum(MIXED.weights) for weight in MIXED.weights])
    names = {mix.draw(np.random.default_rng(seed)).name for seed in range(60)}
    assert names == {recipe.name for recipe in mix.recipes}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("light:", "'light:' is no NAME:SHARE with a share above 0, such as 'light:2'"),
        ("light:1, heavy", "'heavy' is no NAME:SHARE"),
        ("light:0", "'light:0' is no NAME:SHARE"),
        ("light:-1", "'light:-1' is no NAME:SHARE"),
        ("light:nan", "'light:nan' is no NAME:SHARE"),
        ("light:inf", "'light:inf' is no NAME:SHARE"),
        ("light:1, awful:2", "unknown degradation 'awful'"),
    ],
)
def test_a_mix_that_cannot_be_made_is_refused(words: str, what: str) -> None:
    with pytest.raises(OptionError, match=what):
        get_recipe(words)


def test_bad_requests_are_refused(clip: torch.Tensor) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(OptionError, match="unknown degradation 'awful'; use one of light"):
        degrade_clip(clip, "awful", rng)
    with pytest.raises(OptionError, match=r"must be \[T, 3, H, W\], got \[3, 128, 160\]"):
        degrade_clip(clip[0], "light", rng)
    with pytest.raises(OptionError, match="smaller than one LQ pixel"):
        degrade_clip(clip[..., :3, :], "light", rng)
