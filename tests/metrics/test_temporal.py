from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.errors import OptionError
from starvsr.metrics.temporal import clip_warping_error, estimate_flows, occluded, warping_error
from tests.metrics.synthetic_clips import DISTORTIONS, flow

FLOWS = ["pan_int", "pan_subpixel", "two_layer", "wavy", "zoom"]


@pytest.mark.parametrize("clip_name", ["reference", "noise24", "flicker6"])
@pytest.mark.parametrize("flow_name", FLOWS)
def test_warping_error_matches_the_golden_values(reference, golden, clip_name, flow_name):
    clip = reference if clip_name == "reference" else DISTORTIONS[clip_name](reference)
    forward, backward = flow(flow_name)
    expected = golden["warping_x1e3"][f"{clip_name}/{flow_name}"]
    a, b = clip[:2]
    assert occluded(forward, backward).sum() == golden["occluded"][flow_name]
    for key, value in {
        "masked_clamp": warping_error(a, b, forward, backward),
        "unmasked_clamp": warping_error(a, b, forward),
        "masked_and_inside": warping_error(a, b, forward, backward, border="inside"),
    }.items():
        assert value == pytest.approx(expected[key][0], abs=1e-5), key


def test_estimated_flow_finds_the_pan(reference):
    found = estimate_flows(reference[0], reference[1])
    for estimate, pan in ((found.forward, [-2, -1]), (found.backward, [2, 1])):
        assert np.median(np.abs(estimate[20:-20, 20:-20] - np.array(pan)), axis=(0, 1)).max() < 0.1


def test_another_estimator_can_stand_in(reference):
    class Still:
        name = "nothing moves"

        def __call__(self, frames, others):
            return torch.zeros(len(frames), 2, *frames.shape[-2:])

    clip = reference[:2, :48, :48]
    expected = 1000 * np.mean((clip[1] / 255.0 - clip[0] / 255.0) ** 2)
    assert clip_warping_error(clip, clip, estimator=Still())[0] == pytest.approx(expected)
    assert clip_warping_error(clip, clip)[0] < 0.5 * expected


def test_flicker_costs_and_a_still_clip_is_free(reference):
    still = np.repeat(reference[:1, :64, :64], 3, axis=0)
    assert clip_warping_error(still, still).tolist() == [0, 0]
    flickering = DISTORTIONS["flicker6"](still)
    # neighbouring frames differ by 12 levels
    np.testing.assert_allclose(clip_warping_error(flickering, still), 1000 * (12 / 255) ** 2, rtol=0.02)


def test_border_crop_and_single_frame(reference):
    clip = np.repeat(reference[:1, :64, :64], 2, axis=0)
    disturbed = clip.copy()
    disturbed[1, :8] = 255
    assert clip_warping_error(disturbed, clip)[0] > 1
    assert clip_warping_error(disturbed, clip, crop_px=8)[0] == 0
    assert clip_warping_error(clip[:1], clip[:1]).shape == (0,)


def test_shapes_that_differ_are_refused(reference):
    with pytest.raises(OptionError):
        clip_warping_error(reference, reference[:, 1:])
