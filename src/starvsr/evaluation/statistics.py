"""Uncertainty of means over clips: bootstrap intervals, and a paired sign-flip test.

Frames of a clip are alike, so clips are what is drawn: intervals say how a mean would vary with other clips of the
same kind, not with other frames of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_DRAWS = 10_000
"""Draws of the bootstrap, and of sign flips where not all are tried."""

LEVEL = 0.95
"""Probability that an interval covers."""

_EXACT_UP_TO = 13  # clips of which all sign flips are tried


@dataclass(frozen=True)
class Summary:
    """Mean of a metric over clips.

    Attributes:
        mean: NaN without any clip.
        low: Lower end of the interval; None for fewer than two clips.
        high: Upper end.
        num_clips: Clips with a value.
    """

    mean: float
    low: float | None
    high: float | None
    num_clips: int


@dataclass(frozen=True)
class Difference:
    """Paired difference of two methods over the clips that both have.

    Attributes:
        mean: Mean of first minus second.
        low: Lower end of its interval; None for fewer than two clips.
        high: Upper end.
        p_value: Probability of a mean difference at least as large if signs were random; None for fewer than two clips.
        num_clips: Clips with both values.
        num_higher: Clips on which the first value is larger.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    num_clips: int
    num_higher: int


def summarize(values: Sequence[float], seed: int = 0) -> Summary:
    """Average the values of clips, with a percentile bootstrap interval (Efron 1979); NaN values are left out."""
    known = np.array([value for value in values if not math.isnan(value)], np.float64)
    if not len(known):
        return Summary(math.nan, None, None, 0)
    return Summary(float(known.mean()), *_interval(known, seed), len(known))


def paired_difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """Compare two methods clip by clip.

    The test is two-sided: under the hypothesis that both methods are alike, each difference has either sign with
    equal probability. All sign flips are tried up to 13 clips, else 10,000 drawn ones (and the observed one).

    Args:
        first: a value for each clip, NaN where there is none.
        second: as many, of the same clips.
        seed: of the draws.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not pairs:
        return Difference(math.nan, None, None, None, 0, 0)
    differences = np.array([a - b for a, b in pairs], np.float64)
    p_value = _sign_flip(differences, seed) if len(differences) > 1 else None
    higher = int((differences > 0).sum())
    return Difference(float(differences.mean()), *_interval(differences, seed), p_value, len(differences), higher)


def _interval(values: np.ndarray, seed: int) -> tuple[float | None, float | None]:
    if len(values) < 2 or not np.isfinite(values).all():
        return None, None
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (NUM_DRAWS, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _sign_flip(differences: np.ndarray, seed: int) -> float:
    count, observed = len(differences), abs(differences.mean())
    if count <= _EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (NUM_DRAWS, count))
        signs = np.concatenate([np.ones((1, count)), 1.0 - 2.0 * drawn])
    means = np.abs(signs @ differences) / count
    return float((means >= observed * (1 - 1e-12)).mean())
