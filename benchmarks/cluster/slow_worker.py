"""A worker whose shares take a fixed time more than they do."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.cluster.counting_worker import CountingWorker

SECONDS = "STARVSR_BENCHMARK_SECONDS"
"""The variable that names the seconds that each share takes."""


class SlowWorker(CountingWorker):
    """Sleeps with each share, as if a network were at work on a device of its own."""

    def work(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do an order; a share takes longer."""
        if order["op"] == "share":
            time.sleep(float(os.environ.get(SECONDS, "0")))
        return super().work(order)
