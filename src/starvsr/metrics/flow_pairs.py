"""Several optical flows at once, on threads: of one pair of frames both ways, and of the next pair ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from starvsr.metrics.flow_choice import estimate_flow
from starvsr.metrics.metric import ByteArray, FlowArray
from starvsr.models.flow.dis import ByteFlow
from starvsr.models.flow.estimator import FlowEstimator

_MOST_THREADS = 4


class FlowPairs:
    """Estimates flows; made by :func:`flow_pairs`.

    Args:
        estimator: of the flow.
        pool: threads; None estimates on the caller's thread when a flow is asked for.
    """

    def __init__(self, estimator: FlowEstimator, pool: ThreadPoolExecutor | None) -> None:
        self._estimator, self._pool = estimator, pool

    def begin(self, *pairs: tuple[ByteArray, ByteArray]) -> Callable[[], list[FlowArray]]:
        """Begin to estimate the flow from the first to the second frame of each pair, uint8 [H, W, 3] RGB.

        Returns:
            What waits for the flows, each float32 [H, W, 2] in pixels, and raises what the estimator raised.
        """
        if self._pool is None:
            return lambda: [estimate_flow(*pair, self._estimator) for pair in pairs]
        begun = [self._pool.submit(estimate_flow, *pair, self._estimator) for pair in pairs]
        return lambda: [one.result() for one in begun]


@contextmanager
def flow_pairs(estimator: FlowEstimator) -> Iterator[FlowPairs]:
    """Give what estimates flows: classical methods on as many threads as torch may use, networks one by one."""
    count = min(_MOST_THREADS, torch.get_num_threads())
    if count == 1 or not isinstance(estimator, ByteFlow):
        yield FlowPairs(estimator, None)
        return
    pool = ThreadPoolExecutor(count, "starvsr-flow")
    try:
        yield FlowPairs(estimator, pool)
    finally:
        pool.shutdown(cancel_futures=True)
