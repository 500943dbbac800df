"""The ladder: damages rise, a metric that follows is told from one that does not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.quality.metric_ladder import DAMAGES, as_table, ladder, main, small, steps
from starvsr.errors import MissingWeightsError
from starvsr.metrics import lpips
from starvsr.metrics.fidelity import PSNR_Y
from starvsr.metrics.metric import Metric, per_frame
from starvsr.models.imagenet import Trunk
from tests.evaluation.made_clips import film, moving
from tests.metrics.synthetic_clips import reference

BLIND = Metric(
    name="blind",
    unit="",
    higher_is_better=True,
    needs=frozenset(),
    protocol="always 1",
    compute=per_frame(lambda frame: 1),
)


@pytest.fixture(scope="module")
def clip():
    return reference(2, 96, 128)


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_rises(clip, damage):
    """Measured by hand: the mean squared error grows with every strength."""
    damaged, strengths = DAMAGES[damage]
    made = [damaged(clip, strength, np.random.default_rng(0)) for strength in strengths]
    errors = [np.mean((one.astype(float) - clip) ** 2) for one in made]
    assert all(one.shape == clip.shape and one.dtype == np.uint8 for one in made)
    assert errors[0] > 0 and all(a < b for a, b in pairwise(errors))


def test_a_metric_that_sees_nothing_follows_no_step(clip):
    found = ladder({"one": clip}, [PSNR_Y, BLIND], report=lambda line: None)
    assert all(len(followed) == 6 for by_damage in found.values() for followed in by_damage.values())
    table = as_table(found)
    assert "| blind | 0 % | 0 % | 0 % | 0 % | 0 % | 0 % |" in table
    assert "| psnr_y_db | 100 % | 100 % | 100 % | 100 % | 100 % | 100 % |" in table


def test_equal_values_are_no_step(clip):
    frozen = Metric(
        name="psnr_in_tens", unit="dB", higher_is_better=True, needs=frozenset({"gt"}), protocol="rounded",
        compute=per_frame(lambda frame: float(np.mean(frame.hq != frame.gt) > 0)),
    )  # fmt: skip
    assert not any(steps(clip, [frozen], "blur")["psnr_in_tens"])  # 0, then 1 for ever: rises, and more is better


def test_frames_are_made_small_and_cut_in_the_centre():
    frame = np.zeros((200, 100, 3), np.uint8)
    frame[90:110] = 255
    made = small([frame], 50, 40)
    assert made.shape == (1, 40, 50, 3) and made[0, 20, 25, 0] > 200 and made[0, 5, 25, 0] < 20


def _tiny(net: str, device: str) -> lpips.Lpips:
    """LPIPS on two small layers, whose features are averages and steps: what damages change, it sees.

    Metrics load side by side, so weights are drawn by a generator of their own.
    """
    draws = torch.Generator().manual_seed(1)
    trunk = Trunk([nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()], (1, 3), (6, 6))
    for values in trunk.parameters():
        most = (values.shape[1] * 9 if values.ndim > 1 else 27) ** -0.5
        nn.init.uniform_(values, -most, most, generator=draws)
    return lpips.Lpips(trunk.requires_grad_(False)).eval()


def test_lpips_stands_in_the_table_where_its_weights_are_at_hand(tmp_path, monkeypatch, capsys):
    clip = film(tmp_path / "clip.mkv", moving(2, 96, 128))
    arguments = [str(clip), "--metrics", "lpips_alex", "lpips_vgg", "psnr_y_db", "--frames", "2", "--size", "112", "80"]
    monkeypatch.setattr(lpips, "_loaded", _tiny)
    monkeypatch.setattr(lpips, "find_metric_file", lambda name, what: Path(name))
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "missing" not in shown.err
    rows = {line.split("|")[1].strip(): line for line in shown.out.splitlines()}
    assert "| lpips_alex | 100 % | 100 % |" in rows["lpips_alex"]  # blur, noise
    assert rows["lpips_vgg"].count("%") == 6

    def absent(name: str, what: str) -> Path:
        raise MissingWeightsError(f"{what} needs the weights {name}")

    monkeypatch.setattr(lpips, "find_metric_file", absent)
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "lpips_alex is missing: LPIPS (alex) needs the weights" in shown.err and "lpips" not in shown.out
