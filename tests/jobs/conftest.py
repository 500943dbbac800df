"""A clip with sound, cuts and uneven times that every test of jobs uses."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import make_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 frames of 32x24 at about 4 a second, so that parts are 8 frames; cuts at 20, 26 and 50."""
    rng = np.random.default_rng(11)
    shots = [rng.integers(0, 256, (6, 8, 3)).repeat(6, 0).repeat(6, 1) for _ in range(4)]
    frames = []
    for index in range(70):
        shot = shots[(index >= 20) + (index >= 26) + (index >= 50)]
        frames.append(np.roll(shot, index // 2, axis=1)[:24, :32])
    pts = np.cumsum([40, *rng.integers(180, 320, 69)]).tolist()
    return make_clip(
        tmp_path_factory.mktemp("jobs") / "in.mkv",
        np.stack(frames).astype(np.uint8),
        rate=Fraction(4),
        time_base=Fraction(1, 1000),
        pts=pts,
        audio=["flac"],
        audio_seconds=17,
        chapters=[(0, 5000, "one"), (5000, 17000, "two")],
    )
