"""The measurement of shortcuts: what it counts, and that it compares like with like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.published import star_shortcuts
from benchmarks.published.star_shortcuts import FULL, Row, Sampler, Setting, measure, settings, shallow_share, table
from starvsr.families.star_small.spec import STAR_SMALL
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.small.model import StarSmall


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> Sampler:
    torch.set_num_threads(1)
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(StarSmall(STAR_SMALL.network, STAR_SMALL.context_tokens).requires_grad_(False))
        for parameter in networks[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return Sampler(*networks)


def _clip(num_frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (num_frames, height, width, 3), np.uint8)


def test_calls_are_counted(sampler: Sampler) -> None:
    wanted = {FULL: (28, 0), "--steps 5": (10, 0), "--guidance 1": (14, 0), "--feature-cache 2": (28, 14)}
    wanted["--guidance-interval 250:600"] = (14 + 7, 0)  # guided at t = 500, 454, 409, 363, 318, 272 and 599
    results = {}
    for setting in settings():
        if setting.name in wanted:
            results[setting.name] = sampler(_clip(1, 6, 8), setting)
            assert (sampler.calls, sampler.kept_calls) == wanted[setting.name], setting.name
    assert results[FULL].shape == (1, 24, 32, 3)
    assert not np.array_equal(results[FULL], results["--feature-cache 2"])


def test_rows_are_compared_with_all_steps(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star_shortcuts, "settings", lambda: [Setting(FULL, 3), Setting("--steps 2", 2)])
    rows = measure(sampler, [(_clip(1, 10, 12), _clip(1, 40, 48))])
    assert [row.calls for row in rows.values()] == [6, 4]
    assert rows[FULL].likeness == [float("inf")] and 5 < rows["--steps 2"].likeness[0] < 60
    lines = table(rows, 0.25).splitlines()
    assert lines[2].startswith("| all steps | 6 | 1.00 |") and lines[2].endswith("|  | 1.00 |")
    assert lines[3].startswith("| `--steps 2` | 4 |") and lines[3].endswith("| 0.67 |")


def test_kept_features_count_less() -> None:
    full = Row(calls=10, seconds=[2.0], psnr=[30.0], ssim=[0.9], likeness=[float("inf")])
    kept = Row(calls=10, kept_calls=5, seconds=[1.0], psnr=[29.0], ssim=[0.8], likeness=[40.0])
    line = table({FULL: full, "--feature-cache 2": kept}, 0.2).splitlines()[3]
    assert line == "| `--feature-cache 2` | 10, 5 of them with kept features | 0.50 | 29.00 | 0.8000 | 40.0 | 0.60 |"


def test_share_of_a_call_with_kept_features() -> None:
    config = StarUNetConfig(width=32, multipliers=(1, 2, 4), head_dim=16, first_heads=2, context_dim=16)
    assert 0.05 < shallow_share(config, 2, 10, 8) < 0.4
