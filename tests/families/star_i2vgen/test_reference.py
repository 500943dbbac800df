"""The released code's choices and ours, one by one."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch

from starvsr.diffusion.schedules import star_schedule
from starvsr.engine.chunk_plan import whole_clip
from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions
from starvsr.families.star_i2vgen.reference import ReferenceQuirks, ReleasedNoise
from starvsr.padding import Padding


def test_exact_takes_back_every_repair_and_each_alone() -> None:
    released = ReferenceQuirks.of(exact=True)
    assert set(dataclasses.asdict(released).values()) == {"released"}
    for field in dataclasses.fields(ReferenceQuirks):
        one = ReferenceQuirks.of(exact=False, **{field.name: "released"})
        changed = [f.name for f in dataclasses.fields(ReferenceQuirks) if getattr(one, f.name) != f.default]
        assert changed == [field.name]
        assert getattr(ReferenceQuirks.of(exact=True, **{field.name: field.default}), field.name) == field.default
    with pytest.raises(OptionError, match="--window-join"):
        ReferenceQuirks.of(exact=False, window_join="overlap")


def test_padding() -> None:
    assert ReferenceQuirks().pad(480, 640, 8) == Padding(bottom=48)  # 66 x 80 cells
    assert ReferenceQuirks.of(exact=True).pad(480, 640, 8) == Padding(320, 320, 120, 120)
    assert not ReferenceQuirks().pad(720, 1280, 8) and not ReferenceQuirks.of(exact=True).pad(720, 1280, 8)
    assert not ReferenceQuirks().pad(784, 1344, 8)  # fits as it is; the released code adds 64 to each side
    assert ReferenceQuirks.of(exact=True).pad(784, 1344, 8) == Padding(right=64, bottom=64)


@pytest.mark.parametrize("num_frames", [1, 31, 33, 40, 41, 72, 100])
def test_windows_of_any_length(num_frames: int) -> None:
    for exact in (True, False):
        windows, blend = ReferenceQuirks.of(exact).windows(num_frames, 32)
        assert blend == ("cut" if exact else "cosine")
        assert windows[0].start == 0 and windows[-1].stop == num_frames
        assert max(window.length for window in windows) <= 40
    assert all(left.stop - right.start >= 8 for left, right in pairwise(windows))  # a quarter of 32


LEVELS = star_schedule().normal(4)
SHAPE = (1, 4, 3, 2, 5)


def test_released_noise_is_drawn_in_the_order_of_the_script() -> None:
    noise = ReleasedNoise(SHAPE, LEVELS, seed=666)
    torch.manual_seed(666)
    posterior = [torch.randn(1, 4, 2, 5) for _ in range(3)]
    start = torch.randn(SHAPE)
    assert torch.equal(noise("vae"), torch.stack(posterior, 2)) and torch.equal(noise("start"), start)
    assert torch.equal(noise(1), ReleasedNoise(SHAPE, LEVELS, seed=666)(1))
    assert not torch.equal(noise(1), ReleasedNoise(SHAPE, LEVELS, seed=667)(1))


def test_released_steps_are_unit_normal_and_independent() -> None:
    noise = ReleasedNoise((1, 4, 3, 40, 40), LEVELS, seed=1)
    steps = torch.stack([noise(i).flatten() for i in range(3)])  # the last step adds none
    assert (steps.std(1) - 1).abs().max() < 0.03
    assert (torch.corrcoef(steps) - torch.eye(3)).abs().max() < 0.03


def test_released_noise_without_torchsde_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchsde", None)
    with pytest.raises(OptionError, match="--noise frames"):
        ReleasedNoise(SHAPE, LEVELS, seed=1)


def test_whole_clip_leaves_the_users_cut_alone() -> None:
    whole = whole_clip(UpscaleOptions(), 72)
    assert (whole.segment, whole.tile, whole.overlap, whole.scene_cuts) == (72, "off", 0, False)
    cut = whole_clip(UpscaleOptions(segment=16, tile=64, overlap=4), 72)
    assert (cut.segment, cut.tile, cut.overlap) == (16, 64, 4)
    assert whole_clip(UpscaleOptions(), None).segment == "auto"
