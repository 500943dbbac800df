"""Memory does not grow with the clip: metrics of single frames, of pairs, of flow, of the whole clip, at once."""

from __future__ import annotations

import tracemalloc

import numpy as np

from starvsr.metrics.evaluate import measure

_SIZE, _COUNT, _SETTLED = (40, 48), 300, 60
_METRICS = [
    "psnr_y_db",
    "still_flicker",
    "color_drift_de00",
    "seam_steps",
    "seam_steps_lq",
    "added_detail_lq",
    "warping_error_x1e3",
    "tof_x10",
]


def test_memory_is_flat():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (_SIZE[0], _SIZE[1] + 16, 3), dtype=np.uint8)
    seen: dict[int, int] = {}

    def frames(step=1):
        for index in range(_COUNT):
            if step == 1 and index in (_SETTLED, _COUNT - 1):
                seen[index] = tracemalloc.get_traced_memory()[0]
            yield picture[::step, index % 16 : index % 16 + _SIZE[1] : step].copy()

    tracemalloc.start()
    try:
        values = measure(_Again(frames), _Again(frames), lq=_Again(lambda: frames(2)), metrics=_METRICS, crop_px=0)
    finally:
        tracemalloc.stop()
    assert all(len(found) == _COUNT for found in values.values())
    kept_frames = (_COUNT - _SETTLED) * _SIZE[0] * _SIZE[1] * 3
    assert seen[_COUNT - 1] - seen[_SETTLED] < 0.2 * kept_frames


class _Again:
    """Frames that are made anew for each iterator."""

    def __init__(self, make):
        self._make = make

    def __iter__(self):
        return iter(self._make())
