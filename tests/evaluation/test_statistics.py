"""Intervals and tests against other programs' and worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from starvsr.evaluation.statistics import paired_difference, summarize


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(4).normal(30, 2, 20)
    ours = summarize(values.tolist(), seed=1)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=2)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)
    assert (ours.mean, ours.num_clips) == (pytest.approx(values.mean()), 20)


def test_equal_seeds_give_equal_intervals_and_others_others() -> None:
    values = np.random.default_rng(4).normal(30, 2, 20).tolist()
    assert summarize(values, 3) == summarize(values, 3) != summarize(values, 4)


def test_one_clip_has_no_interval_and_missing_values_do_not_count() -> None:
    assert summarize([2.0, math.nan]) == summarize([2.0])
    alone = summarize([2.0])
    assert (alone.mean, alone.low, alone.high, alone.num_clips) == (2.0, None, None, 1)
    assert math.isnan(summarize([math.nan]).mean)
    assert summarize([math.inf, 1.0]).low is None


@pytest.mark.parametrize("count", [5, 12, 30])
def test_p_values_are_those_of_scipys_permutation_test(count: int) -> None:
    rng = np.random.default_rng(count)
    first = rng.normal(0.3, 1, count)
    second = rng.normal(0, 1, count)
    ours = paired_difference(first.tolist(), second.tolist())
    theirs = scipy.stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, rng=0
    )
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.012 if count > 13 else 1e-9)
    assert ours.mean == pytest.approx((first - second).mean())


def test_pairs_without_a_value_are_left_out() -> None:
    found = paired_difference([1.0, math.nan, 3.0, math.inf], [0.0, 1.0, 1.0, 2.0])
    assert (found.num_clips, found.mean, found.num_higher, found.p_value) == (2, 1.5, 2, 0.5)
    assert paired_difference([1.0], [0.0]).p_value is None
    assert paired_difference([], []).num_clips == 0
