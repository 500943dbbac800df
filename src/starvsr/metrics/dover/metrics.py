"""DOVER as metrics: the technical, the aesthetic and the fused score of a clip, as the value of its last frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from starvsr.metrics.dover.network import VIEWS, View
from starvsr.metrics.dover.scores import DRAWS, RUNS, SEED, ClipSampler, DoverScores, published
from starvsr.metrics.metric import FrameSet, Metric
from starvsr.models.weights.metric_files import find_metric_file

_WORDS = {
    "technical": f"{RUNS} runs of 32 frames with 7x7 fragments of 32x32 px",
    "aesthetic": "32 frames resized to 224x224, bilinear without antialiasing",
}


def dover_metric(
    name: str,
    views: Sequence[View],
    value: Callable[[DoverScores], float],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Metric:
    """Make a metric of a score of DOVER.

    Args:
        name: what tables call it.
        views: the views that the score rests on.
        value: takes the score.
        draws: how often frames and fragments are drawn.
        seed: of the draws.

    Raises:
        OptionError: `draws` or `seed` is out of range.
    """
    ClipSampler(draws, seed, ())

    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        score = published(device)
        sampler = ClipSampler(draws, seed, views)
        for index, frame in enumerate(frames):
            if index:
                yield math.nan
            sampler.take(frame.hq)
        found = sampler.scores(score)
        if not math.isnan(sum(getattr(found, view) for view in views)):
            yield value(found)

    return Metric(
        name=name,
        unit="",
        higher_is_better=True,
        needs=frozenset(),
        protocol=f"{' and '.join(_WORDS[view] for view in views)}, mean of {draws} draws of seed {seed}, from 0 to 1, "
        "one value for a clip",
        compute=compute,
        weights="DOVER.pth (S-Lab License 1.0, non-commercial)",
        digits=4,
        requires=lambda: _require(name),
    )


def _require(name: str) -> None:
    find_metric_file("dover", f"the metric {name}")


def with_draws(metric: Metric, draws: int) -> Metric:
    """Return a score of DOVER averaged over another number of draws; any other metric as it is.

    Raises:
        OptionError: `draws` is below 1.
    """
    if metric.name not in _SCORES or draws == DRAWS:
        return metric
    return dover_metric(metric.name, *_SCORES[metric.name], draws=draws)


_SCORES: dict[str, tuple[Sequence[View], Callable[[DoverScores], float]]] = {
    "dover": (VIEWS, lambda scores: scores.overall),
    "dover_technical": (("technical",), lambda scores: scores.technical_quality),
    "dover_aesthetic": (("aesthetic",), lambda scores: scores.aesthetic_quality),
}
DOVER, DOVER_TECHNICAL, DOVER_AESTHETIC = (dover_metric(name, *score) for name, score in _SCORES.items())
