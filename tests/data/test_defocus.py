"""Backgrounds out of focus: the same part in all frames, soft there, untouched elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from starvsr.data.clips import DegradedClips
from starvsr.data.defocus import defocus
from starvsr.data.synthetic import SharpSource


def _texture() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(60, 200, (1, 128, 160, 3))
    return np.repeat(noise, 3, 0).round().astype(np.uint8)


def _contrast(frame: np.ndarray) -> np.ndarray:
    gray = frame.mean(-1)
    return np.sqrt(np.maximum(uniform_filter(gray**2, 9) - uniform_filter(gray, 9) ** 2, 0))


def test_part_is_soft_and_the_rest_untouched() -> None:
    clip = _texture()
    kept = clip.copy()
    shares = []
    for seed in range(12):
        made = defocus(clip, np.random.default_rng(seed))
        assert made.shape == clip.shape and made.dtype == np.uint8
        np.testing.assert_array_equal(made, defocus(clip, np.random.default_rng(seed)))
        np.testing.assert_array_equal(made[0], made[2])  # frames are alike, and so is what is done to them
        changed = (made != clip).any((0, 3))
        shares.append(changed.mean())
        soft = _contrast(made[0]) < 0.5 * _contrast(clip[0])
        assert not (soft & ~uniform_filter(changed.astype(float), 9).astype(bool)).any()
    np.testing.assert_array_equal(clip, kept)
    assert min(shares) < 0.5 < max(shares)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.35)


def test_brightness_stays_but_for_lights_which_are_discs() -> None:
    flat = np.full((2, 64, 64, 3), 117, np.uint8)
    made = [defocus(flat, np.random.default_rng(seed)) for seed in range(40)]
    np.testing.assert_array_equal(made[0], flat)  # no light
    lit = [clip for clip in made if not np.array_equal(clip, flat)]
    assert 10 <= len(lit) <= 25
    for clip in lit:
        assert clip.min() == 117
        assert (clip == 117).all(-1).mean() > 0.3
    brightest = max(lit, key=lambda clip: int(clip.max()))[0]
    assert brightest.max() > 180


def test_the_ground_truth_is_what_is_out_of_focus(media, tmp_path) -> None:
    def clips(share: float) -> DegradedClips:
        source = SharpSource(None, media / "image", tmp_path)
        return DegradedClips(source, "clean", clip_frames=2, gt_size=64, defocus_probability=share)

    plain, soft = ([clips(share).make(k)["gt"].numpy() for k in range(8)] for share in (0, 1))
    assert [made.shape for made in soft] == [made.shape for made in plain]
    assert sum(not np.array_equal(a, b) for a, b in zip(plain, soft, strict=True)) >= 6
