"""Flows that are estimated side by side, and ahead of time, are those that are estimated one after the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from starvsr.errors import OptionError
from starvsr.metrics.evaluate import measure
from starvsr.metrics.flow_choice import estimate_flow
from starvsr.metrics.flow_pairs import flow_pairs
from starvsr.models.flow.dis import DisFlow


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_flows_are_those_of_the_estimator(reference, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with flow_pairs(DisFlow()) as flows:
            waits = [flows.begin((a, b), (b, a)) for a, b in pairwise(reference[:4])]
            found = [wait() for wait in waits]
    finally:
        torch.set_num_threads(before)
    for (forward, backward), (a, b) in zip(found, pairwise(reference[:4]), strict=True):
        np.testing.assert_array_equal(forward, estimate_flow(a, b, DisFlow()))
        np.testing.assert_array_equal(backward, estimate_flow(b, a, DisFlow()))


def test_what_an_estimator_raises_comes_to_who_waits(reference, three_threads):
    with flow_pairs(DisFlow()) as flows:
        wait = flows.begin((reference[0, :8, :8], reference[1, :8, :8]))
        with pytest.raises(OptionError, match="at least 16x16"):
            wait()


def test_threads_change_no_value(reference, three_threads):
    clips = {"hq": reference[:4, :64, :80] // 2, "gt": reference[:4, :64, :80]}
    names = ["warping_error_x1e3", "tof_x10"]
    many = measure(**clips, metrics=names, crop_px=0)
    torch.set_num_threads(1)
    one = measure(**clips, metrics=names, crop_px=0)
    for name in names:
        np.testing.assert_array_equal(many[name], one[name])
        assert np.isnan(many[name][0]) and np.isfinite(many[name][1:]).all()
