"""Metrics of every n-th frame, for those that take long: `vgg_distance@8` looks at the frames 0, 8, 16, ...

The name says so, and so does the protocol. The mean is then that of the frames looked at: how far it may be from that
of all is what frames of one clip differ by, over the root of their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from starvsr.errors import OptionError
from starvsr.metrics.metric import Compute, FrameSet, Metric

SEPARATOR = "@"


def split_name(name: str) -> tuple[str, int]:
    """Return the metric and the step that a name such as ``vgg_distance@8`` stands for; 1 without a step.

    Raises:
        OptionError: the step is no whole number of at least 1.
    """
    plain, separator, step = name.partition(SEPARATOR)
    if not separator:
        return plain, 1
    if not (step.isascii() and step.isdigit() and int(step) >= 1):
        raise OptionError(f"the metric {name}: give a whole number behind {SEPARATOR}, for example {plain}{SEPARATOR}8")
    return plain, int(step)


def every_nth(metric: Metric, step: int) -> Metric:
    """Make a metric that looks at each `step`-th frame, from the first one on, and has no value for the others.

    Raises:
        OptionError: it compares frames with their neighbours.
    """
    if step == 1:
        return metric
    if not metric.of_single_frames:
        raise OptionError(f"{metric.name}{SEPARATOR}{step}: {metric.name} looks at all frames; leave out the number")
    return replace(
        metric,
        name=f"{metric.name}{SEPARATOR}{step}",
        protocol=f"{metric.protocol}; one frame in {step}",
        compute=_compute(metric, step),
    )


def _compute(metric: Metric, step: int) -> Compute:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        count = 0

        def chosen() -> Iterator[FrameSet]:
            nonlocal count
            for index, frame in enumerate(frames):
                count = index + 1
                if index % step == 0:
                    yield frame

        given = 0
        for place, value in enumerate(metric.compute(chosen(), device=device)):
            yield from [math.nan] * (place * step - given)
            yield value
            given = place * step + 1
        yield from [math.nan] * (count - given)

    return compute
