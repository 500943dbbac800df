"""Networks of metrics compute where they are told to.

No accelerator is needed: tensors of torch's device "meta" have a shape and no values. An operation between tensors of
two devices is an error, and so is to ask for a value, which happens at the end alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
import torch

from starvsr.metrics import vgg_sampled
from starvsr.metrics.dists import Dists, L2Pool, distances
from starvsr.metrics.dover.network import Dover, View
from starvsr.metrics.flow_choice import FittedRaft
from starvsr.metrics.lpips import Lpips, frame_distances
from starvsr.metrics.metric import Compute, FrameSet
from starvsr.metrics.registry import METRICS
from starvsr.metrics.vgg_distance import _compute as vgg_compute
from starvsr.models.flow.raft import RaftFlow
from starvsr.models.imagenet import alexnet, vgg16
from starvsr.models.vgg16 import Vgg16
from starvsr.models.weights.assign import build_empty

DEVICE = "meta"
NO_VALUE = r"cannot be called on meta tensors|out of meta tensor"
FRAME = np.zeros((64, 80, 3), np.uint8)


def _frames() -> Iterator[FrameSet]:
    yield FrameSet(FRAME, FRAME)


def test_an_operation_between_two_devices_is_seen() -> None:
    with pytest.raises(RuntimeError, match=r"is not on the expected device|at least two devices"):
        torch.ones(2, device=DEVICE) + torch.ones(2)
    with pytest.raises((RuntimeError, NotImplementedError), match=NO_VALUE):
        float(torch.ones(1, device=DEVICE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_vgg_distance(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    asked = []

    def shipped(device: str) -> Vgg16:
        asked.append(device)
        return Vgg16(((4, 4), (4, 4), (4,), (4,), (4,))).requires_grad_(False).to(device)

    monkeypatch.setattr("starvsr.metrics.vgg_distance.shipped", shipped)
    with pytest.raises((RuntimeError, NotImplementedError), match=NO_VALUE):
        next(vgg_compute(dtype)(_frames(), device=DEVICE))
    assert asked == [DEVICE]


@pytest.mark.parametrize("compute", [vgg_sampled._values, vgg_sampled._error_of_mean])
def test_the_vgg_distance_of_windows(monkeypatch: pytest.MonkeyPatch, compute: Compute) -> None:
    tiny = Vgg16(((4, 4), (4, 4), (4,), (4,), (4,))).requires_grad_(False).to(DEVICE)
    monkeypatch.setattr(vgg_sampled, "shipped", lambda device: tiny if device == DEVICE else None)
    with pytest.raises((RuntimeError, NotImplementedError), match=NO_VALUE):
        next(compute(_frames(), device=DEVICE))


@pytest.mark.parametrize("trunk", [alexnet, vgg16])
def test_lpips(trunk) -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match=NO_VALUE):
        next(frame_distances(Lpips(trunk()).to(DEVICE), _frames()))


def test_dists() -> None:
    weights = torch.ones(3 + 64 + 128 + 256 + 512 + 512)
    with pytest.raises((RuntimeError, NotImplementedError), match=NO_VALUE):
        next(distances(Dists(vgg16(L2Pool), weights, weights).to(DEVICE), _frames()))


@pytest.mark.parametrize("view", get_args(View))
def test_dover(view: View) -> None:
    with torch.inference_mode():
        score = build_empty(Dover).to(DEVICE).eval()(torch.zeros(1, 32, 224, 224, 3, dtype=torch.uint8), view)
    assert score.device.type == DEVICE and score.shape == (1,)


def test_raft_takes_frames_to_its_device_and_flow_back() -> None:
    seen = []

    def network(frames, others, num_flow_updates):
        seen.append((frames.device.type, others.device.type))
        return [frames[:, :2] - others[:, :2]]

    with pytest.raises((RuntimeError, NotImplementedError), match=NO_VALUE):  # back to where the frames are
        FittedRaft(RaftFlow(network), DEVICE)(*torch.zeros(2, 1, 3, 130, 140))
    assert seen == [(DEVICE, DEVICE)]


def test_metrics_with_weights_are_those_tested_here() -> None:
    """A new metric with a network has to be tested here, too; pyiqa's are given the device when they are made."""
    names = {metric.name for metric in METRICS if metric.weights}
    networks = {name for name in names if not name.startswith(("niqe", "ilniqe", "vmaf", "musiq", "clipiqa"))}
    assert networks == {
        *("vgg_distance", "vgg_distance_bf16", "vgg_distance_sampled", "vgg_distance_sampled_se"),
        *("lpips_alex", "lpips_vgg", "tlpips_x1e3", "dists"),
        *("dover", "dover_technical", "dover_aesthetic"),
    }
