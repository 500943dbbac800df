"""A metric of every n-th frame has their values, and none for the frames between; batches hold all frames in order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.metrics.batches import BATCH_PIXELS, in_batches
from starvsr.metrics.evaluate import measure
from starvsr.metrics.metric import FrameSet, mean
from starvsr.metrics.registry import METRICS, choose_metrics


@pytest.mark.parametrize(("count", "step"), [(1, 3), (3, 3), (4, 3), (7, 2), (5, 8)])
def test_values_are_those_of_the_frames_looked_at(reference, count, step):
    gt = np.concatenate([reference, reference])[:count, :64, :64]
    hq = gt // 2
    every = measure(hq, gt, metrics=["ssim_y"], crop_px=0)["ssim_y"]
    found = measure(hq, gt, metrics=[f"ssim_y@{step}", "ssim_y"], crop_px=0)[f"ssim_y@{step}"]
    assert len(found) == count
    np.testing.assert_array_equal(found[::step], every[::step])
    assert all(math.isnan(value) for index, value in enumerate(found) if index % step)
    assert mean(found) == pytest.approx(every[::step].mean())


def test_the_name_and_the_protocol_say_so():
    (one,) = choose_metrics(["ssim_y@8"])
    assert one.name == "ssim_y@8" and one.protocol.endswith("one frame in 8")
    assert choose_metrics(["ssim_y@1"])[0].name == "ssim_y"


@pytest.mark.parametrize("name", ["ssim_y@0", "ssim_y@", "ssim_y@x", "ssim_y@-2", "ssim_y@1.5", "other@2"])
def test_wrong_names_are_refused(name):
    with pytest.raises(OptionError):
        choose_metrics([name])


@pytest.mark.parametrize("name", [metric.name for metric in METRICS if metric.needs & {"flow", "motion"}])
def test_metrics_of_change_look_at_all_frames(name):
    with pytest.raises(OptionError, match="looks at all frames"):
        choose_metrics([f"{name}@2"])


def test_accelerators_get_several_frames_at_once(monkeypatch):
    frames = [FrameSet(np.full((10, 10, 3), index, np.uint8)) for index in range(5)]
    monkeypatch.setitem(BATCH_PIXELS, "other", 250)
    sizes = [len(batch) for batch in in_batches(iter(frames), "cuda:1")]
    assert sizes == [2, 2, 1]
    assert [int(one.hq[0, 0, 0]) for batch in in_batches(iter(frames), "cuda:1") for one in batch] == list(range(5))
    assert [len(batch) for batch in in_batches(iter(frames), "cpu")] == [1] * 5
