from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.degradation.released import (
    ReleasedOptions,
    degrade_released,
    photon_noise,
    sharpen,
    stretched_size,
)
from starvsr.errors import OptionError


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(66.0), torch.arange(90.0), indexing="ij")
    picture = torch.stack([torch.sin(rows / 5), torch.cos(columns / 4), torch.sin((rows + columns) / 7)])
    return (0.5 + 0.4 * picture).expand(2, 3, 66, 90).contiguous()


def test_width_bug_leaves_the_width_alone() -> None:
    assert stretched_size(720, 1280, 0.5) == (90, 1280)
    assert stretched_size(720, 1280, 0.5, width_bug=False) == (90, 160)


def test_same_seed_same_bytes_on_the_8_bit_grid(clip: torch.Tensor) -> None:
    (gt, lq), (_, again) = (degrade_released(clip, np.random.default_rng(5)) for _ in range(2))
    assert gt.shape == clip.shape and lq.shape == (2, 3, 16, 22)
    assert torch.equal(lq, again)
    torch.testing.assert_close(lq * 255, (lq * 255).round(), atol=1e-4, rtol=0)


def test_every_frame_is_drawn_anew(clip: torch.Tensor) -> None:
    _, lq = degrade_released(clip, np.random.default_rng(5))  # two equal frames
    assert not torch.equal(lq[0], lq[1])


def test_options_change_the_output(clip: torch.Tensor) -> None:
    plain = degrade_released(clip[:1], np.random.default_rng(1), ReleasedOptions(width_bug=False))
    bug = degrade_released(clip[:1], np.random.default_rng(1))
    soft = degrade_released(clip[:1], np.random.default_rng(1), ReleasedOptions(sharpen_gt=False))
    assert not torch.equal(plain[1], bug[1])
    assert torch.equal(soft[0], clip[:1]) and not torch.equal(bug[0], clip[:1])


def test_sharpening_leaves_faint_texture_alone() -> None:
    faint = 0.5 + 0.01 * torch.sin(torch.arange(80.0)).expand(1, 3, 60, 80)
    assert torch.equal(sharpen(faint), faint)
    strong = 0.5 + 0.3 * torch.sin(torch.arange(80.0)).expand(1, 3, 60, 80)
    assert sharpen(strong).std() > 1.2 * strong.std()


def test_photon_noise_takes_its_level_count_from_the_picture() -> None:
    two_levels = (torch.arange(64 * 64) % 2).float().view(1, 1, 64, 64).expand(1, 3, -1, -1)
    noise = photon_noise(two_levels, np.random.default_rng(0), grey=True)
    assert noise.shape == (1, 1, 64, 64)
    bright = noise[two_levels[:, :1] == 1]
    assert bright.std().item() == pytest.approx(0.5**0.5, rel=0.1)  # poisson(2) / 2
    assert noise[two_levels[:, :1] == 0].abs().max() == 0


def test_small_clips_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 64"):
        degrade_released(torch.zeros(1, 3, 60, 80), np.random.default_rng(0))
