from __future__ import annotations

import sys

from benchmarks.reliability.processes import WatchedRun, watch


def test_memory_output_and_exit_status_are_seen():
    code = "import time; b = bytearray(b'x') * 80_000_000; time.sleep(.5); print('done'); exit(3)"
    run = watch([sys.executable, "-c", code], interval_s=0.02)
    assert run.returncode == 3
    assert run.last_line == "done"
    assert 80_000_000 < run.peak_bytes < 400_000_000
    assert run.seconds > 0.5


def test_growth_is_seen():
    flat = WatchedRun(0, 1, 0, [(t, 100) for t in range(40)], "")
    growing = WatchedRun(0, 1, 0, [(t, 100 * t) for t in range(40)], "")
    assert flat.growth_bytes() == 0
    assert growing.growth_bytes() == 2000
    assert WatchedRun(0, 1, 0, [], "").growth_bytes() == 0
