"""Optical flow: direction, units and shape of what an estimator returns."""

from __future__ import annotations

import pickle
from typing import Literal

import numpy as np
import pytest
import torch

from starvsr.errors import OptionError
from starvsr.models.flow.dis import DisFlow
from starvsr.video.pixels import to_unit
from tests.metrics import synthetic_clips


def test_flow_finds_a_pan_of_every_clip_of_a_batch() -> None:
    clip = to_unit(synthetic_clips.reference(3, 96, 128), 8).transpose(0, 1)  # [T, 3, H, W]
    flow = DisFlow()(clip[:2], clip[1:])
    assert flow.shape == (2, 2, 96, 128) and flow.dtype == torch.float32
    inner = flow[:, :, 20:-20, 20:-20].flatten(2).median(2).values
    torch.testing.assert_close(inner, torch.tensor([[-2.0, -1.0]] * 2), atol=0.15, rtol=0)
    back = DisFlow()(clip[1:], clip[:2])[:, :, 20:-20, 20:-20].flatten(2).median(2).values
    torch.testing.assert_close(back, torch.tensor([[2.0, 1.0]] * 2), atol=0.15, rtol=0)


def test_the_estimator_sees_the_eight_bit_frames() -> None:
    """Frames go through [-1, 1] and back without a change: the flow is that of OpenCV on the bytes themselves."""
    cv2 = pytest.importorskip("cv2")
    frames = synthetic_clips.reference(2, 64, 80)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    wanted = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(gray[0], gray[1], None)
    clip = to_unit(frames, 8).transpose(0, 1)
    assert np.array_equal(DisFlow()(clip[:1], clip[1:])[0].permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("preset", ["medium", "fast"])
def test_what_is_kept_between_calls_changes_nothing(preset: Literal["medium", "fast"]) -> None:
    cv2 = pytest.importorskip("cv2")
    kept = pickle.loads(pickle.dumps(DisFlow(preset)))
    sizes = [(90, 160), (33, 40), (200, 32), (64, 64), (128, 64), (90, 160), (60, 200)]
    for height, width in sizes:
        pair = synthetic_clips.reference(3, height, width)
        gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair]
        number = {"medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST}[preset]
        for a, b in ((0, 1), (2, 1)):
            wanted = cv2.DISOpticalFlow.create(number).calc(gray[a], gray[b], None)
            assert np.array_equal(kept.of_bytes(pair[a], pair[b]), wanted), (height, width)


def test_the_fast_preset_refuses_flat_frames_which_would_crash_it() -> None:
    frame = synthetic_clips.reference(1, 40, 300)[0]
    assert DisFlow("fast").of_bytes(frame[:32], frame[:32]).shape == (32, 300, 2)
    with pytest.raises(OptionError, match="at least 32x32 px, got 300x31: take the preset medium"):
        DisFlow("fast").of_bytes(frame[:31], frame[:31])


def test_tiny_frames_are_refused() -> None:
    frames = torch.zeros(1, 3, 15, 32)
    with pytest.raises(OptionError, match="16x16"):
        DisFlow()(frames, frames)
