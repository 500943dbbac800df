"""The speed of metrics: frames are counted as they are measured, and memory of a long clip is told."""

from __future__ import annotations

import time

from benchmarks.speed.metrics import Panned, growth_mib, main, speed
from starvsr.metrics.fidelity import PSNR_Y
from starvsr.metrics.metric import Metric, per_frame
from starvsr.metrics.still_flicker import STILL_FLICKER_LQ


def test_a_metric_that_sleeps_is_as_slow_as_it_sleeps():
    def sleep(frame):
        time.sleep(0.05)
        return 1.0

    slow = Metric(
        name="slow",
        unit="",
        higher_is_better=True,
        needs=frozenset({"gt"}),
        protocol="sleeps",
        compute=per_frame(sleep),
    )
    rate, busy = speed(slow, 64, 48, 4)
    assert 1 < rate < 20 and busy < 0.05
    assert min(speed(STILL_FLICKER_LQ, 64, 48, 3)) > 0


def test_the_clip_moves_and_is_made_anew_each_time():
    clip = Panned(64, 48, 3)
    first, second = list(clip), list(clip)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert (first[0] != first[1]).any() and first[0].shape == (48, 64, 3)
    assert (next(iter(Panned(64, 48, 1, 1.5))) != first[0]).any()


def test_memory_and_the_table(capsys):
    resident, growth = growth_mib([PSNR_Y], 64, 48, 60)
    assert resident > 50 and growth < 20
    assert main(["--metrics", "psnr_y_db", "--size", "64", "48", "--frames", "3", "--threads", "1"]) == 0
    assert "| psnr_y_db | " in capsys.readouterr().out
