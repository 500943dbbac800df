"""Drawn clips: repeatable, sharp without ringing, moving, and in the place of a share of the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from starvsr.data.clips import DegradedClips
from starvsr.data.drawings import drawn_clip
from starvsr.data.motion import MotionRanges
from starvsr.data.synthetic import DRAWING, SharpSource


def _drawn(seed: int, motion: MotionRanges | None = None) -> np.ndarray:
    return drawn_clip(np.random.default_rng(seed), 3, 96, motion or MotionRanges())


def test_the_same_state_draws_the_same_clip_and_another_another() -> None:
    assert _drawn(1).shape == (3, 96, 96, 3) and _drawn(1).dtype == np.uint8
    np.testing.assert_array_equal(_drawn(1), _drawn(1))
    assert len({_drawn(seed).tobytes() for seed in range(12)}) == 12


def test_clips_move_unless_they_are_to_stand_still() -> None:
    still = MotionRanges(still_probability=1)
    assert all(np.array_equal(clip[0], clip[2]) for clip in (_drawn(seed, still) for seed in range(6)))
    moving = MotionRanges(still_probability=0)
    assert sum(not np.array_equal(clip[0], clip[2]) for clip in (_drawn(seed, moving) for seed in range(12))) >= 10


def test_areas_are_even_and_edges_do_not_ring() -> None:
    """Averages of few colours lie between them: most pixels have exactly the colour of an area."""
    shares = []
    for seed in range(12):
        frame = _drawn(seed, MotionRanges(still_probability=1))[0]
        even = (frame[1:-1, 1:-1] == frame[:-2, 1:-1]).all(-1) | (frame[1:-1, 1:-1] == frame[1:-1, :-2]).all(-1)
        shares.append(float(even.mean()))
    assert float(np.median(shares)) > 0.85 and max(shares) < 1
    colours = Counter(map(tuple, _drawn(4, MotionRanges(still_probability=1))[0].reshape(-1, 3).tolist()))
    assert len(colours) > 5


def test_a_share_of_the_clips_is_drawn_and_has_no_caption(media: Path, tmp_path: Path) -> None:
    def clips(share: float) -> DegradedClips:
        source = SharpSource(None, media / "image", tmp_path, drawn_probability=share)
        return DegradedClips(source, "clean", clip_frames=2, gt_size=64)

    names = [[clips(share).make(k)["name"] for k in range(12)] for share in (0, 0.5, 1)]
    drawn = [sum(DRAWING.name in name for name in own) for own in names]
    assert drawn[0] == 0 < drawn[1] < drawn[2] == 12
    half = clips(0.5)
    assert {half.make(k)["caption"] for k in range(12)} == {""}
    assert half.captions()[DRAWING.name] == "" and DRAWING.name not in clips(0).captions()
