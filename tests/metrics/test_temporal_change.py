import math

import numpy as np
import pytest
import torch

from starvsr.metrics.evaluate import measure
from starvsr.metrics.temporal_change import (
    flow_change,
    perceptual_change,
    released_visible,
    released_warping_error,
)


class MeanFlow:
    """A flow whose value everywhere is the difference of the mean values of the two frames."""

    name = "means"

    def __call__(self, frames, others):
        means = frames.mean((1, 2, 3)) - others.mean((1, 2, 3))
        return means[:, None, None, None].expand(-1, 2, *frames.shape[-2:])


def flat(value):
    return torch.full((1, 3, 8, 8), value)


def test_tof_is_the_difference_of_the_changes():
    frames = flat(0.5), flat(0.1), flat(0.2), flat(0.0)
    assert flow_change(*frames, MeanFlow()) == pytest.approx(0.4 - 0.2)
    assert flow_change(*frames, MeanFlow(), released=True) == pytest.approx((0.4 - 0.2) / 2)  # half the range


def test_tlp_is_the_difference_of_two_distances():
    def distance(first, second):
        return (first - second).square().mean()

    frames = flat(0.5), flat(0.1), flat(0.2), flat(0.0)
    assert perceptual_change(*frames, distance) == pytest.approx(0.16 - 0.04, abs=1e-6)


def test_occluded_pixels_do_not_count_in_the_warping_error():
    flow = torch.zeros(1, 2, 12, 12)
    flow[..., 6:] = 4.0  # a border of motion, and flows that do not lead back
    visible = released_visible(flow, torch.zeros_like(flow))
    assert visible[..., :5].all() and not visible[..., 5:].any()
    frame, before = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 3, 12, 12)
    kept = frame[..., :5].square().mean().item()
    assert released_warping_error(frame, before, flow, torch.zeros_like(flow)) == pytest.approx(kept, rel=1e-5)
    assert released_warping_error(frame, before, flow) == pytest.approx(frame.square().mean().item(), rel=1e-5)


def test_tof_of_clips():
    pytest.importorskip("cv2")
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 255, (16, 24, 3), np.uint8)
    wide = coarse.repeat(4, 0).repeat(4, 1)  # 64 x 96
    moving = np.stack([wide[:, 2 * t : 2 * t + 64] for t in range(3)])
    still = moving[:1].repeat(3, 0)
    same = measure(moving, moving, metrics=["tof_x10"])["tof_x10"]
    frozen = measure(still, moving, metrics=["tof_x10"])["tof_x10"]
    assert math.isnan(same[0]) and same[1:].tolist() == [0, 0]
    assert (frozen[1:] > 5).all()  # 2 px in one of the two components, on average over the picture
