from __future__ import annotations

import numpy as np
import pytest

from starvsr.data.motion import (
    MotionRanges,
    camera_path,
    frame_indices,
    move_photo,
    moving_mask,
    resize_frames,
)
from tests.data.conftest import textured


def test_a_still_camera_shows_the_photo_itself() -> None:
    photo = textured(64, 96)
    frames = move_photo(photo, np.zeros((2, 4)), (40, 48), 1.0)
    np.testing.assert_allclose(frames[0].astype(int), photo[12:52, 24:72], atol=6)
    np.testing.assert_array_equal(frames[0], frames[1])


def test_a_moving_camera_shifts_by_the_pixels_asked_for() -> None:
    photo = textured(96, 96)
    path = np.zeros((3, 4))
    path[1, 0], path[2, 1] = 5.0, -3.0
    still, right, up = move_photo(photo, path, (48, 48), 1.0).astype(int)
    np.testing.assert_allclose(right[:, :-5], still[:, 5:], atol=10)
    np.testing.assert_allclose(up[3:], still[:-3], atol=10)


def test_zoom_and_rotation_turn_about_the_middle() -> None:
    photo = textured(96, 96)
    path = np.zeros((3, 4))
    path[1, 2], path[2, 3] = 0.3, 0.3
    still, zoomed, turned = move_photo(photo, path, (49, 49), 1.0).astype(int)
    for moved in (zoomed, turned):
        np.testing.assert_allclose(moved[24, 24], still[24, 24], atol=12)
        assert np.abs(moved - still).mean() > 10


def test_half_pixel_shifts_stay_sharp() -> None:
    stripes = 127.5 + 100 * np.sin(2 * np.pi * np.arange(96) / 3)  # plain bicubic would leave 7/8 of it
    photo = np.broadcast_to(stripes[None, :, None], (96, 96, 3)).round().astype(np.uint8)
    path = np.zeros((2, 4))
    path[1, 0] = 0.5
    still, between = move_photo(photo, path, (48, 48), 1.0)
    assert between.std() > 0.93 * photo.std()
    assert between.std() > 0.9 * still.std()


def test_camera_paths_are_smooth_slow_enough_and_zero_in_the_middle() -> None:
    motion = MotionRanges(shake_px=0.0)
    for seed in range(50):
        path = camera_path(np.random.default_rng(seed), 9, 320, motion)
        assert path.shape == (9, 4)
        np.testing.assert_allclose(path[4], 0, atol=1e-12)
        steps = np.hypot(*np.diff(path[:, :2], axis=0).T)
        assert steps.max() < 1.5 * motion.pan_px
    assert not camera_path(np.random.default_rng(0), 9, 320, motion, still=True).any()


@pytest.mark.parametrize("total", [1, 2, 5, 9, 40])
def test_frame_indices_stay_inside_and_go_by_one_step(total: int) -> None:
    steps = set()
    for seed in range(60):
        indices = frame_indices(np.random.default_rng(seed), total, 6, 2, 0.1)
        assert len(indices) == 6 and min(indices) >= 0 and max(indices) < total
        if total > 12:
            differences = set(np.diff(indices).tolist())
            assert len(differences) == 1
            steps |= differences
    assert total <= 12 or steps == {0, 1, 2}


def test_masks_have_an_inside_an_outside_and_move() -> None:
    mask = moving_mask(np.random.default_rng(1), 5, 64, MotionRanges())
    assert mask.shape == (5, 64, 64) and mask.dtype == np.uint8
    assert mask.min() == 0 and mask.max() == 255
    assert not np.array_equal(mask[0], mask[4])


def test_resizing() -> None:
    frames = np.stack([textured(40, 60)] * 2)
    assert resize_frames(frames, 1.0) is frames
    assert resize_frames(frames, 0.75).shape == (2, 30, 45, 3)
