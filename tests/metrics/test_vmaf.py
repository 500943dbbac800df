from __future__ import annotations

import numpy as np
import pytest

from starvsr.errors import OptionError, ResourceError
from starvsr.metrics.evaluate import measure
from starvsr.metrics.registry import available
from starvsr.metrics.vmaf import has_vmaf, vmaf
from tests.metrics.synthetic_clips import DISTORTIONS

pytestmark = pytest.mark.skipif(not has_vmaf(), reason="imageio-ffmpeg with libvmaf is not installed")


def test_scores_rank_distortions(reference):
    clip = reference[:3]
    scores = {name: vmaf(clip, DISTORTIONS[name](clip)).mean() for name in ("identical", "noise24", "inverted")}
    assert scores["identical"] > 95 > scores["noise24"] > 50 > scores["inverted"]


def test_plain_model_is_near_the_golden_value(reference):
    # the golden value was computed on yuv444p without the BT.709 matrix, hence the wide tolerance
    distorted = DISTORTIONS["box4_nearest"](reference)
    assert vmaf(reference, distorted, model="vmaf_v0.6.1").mean() == pytest.approx(51.2, abs=3)


def test_gt_and_hq_are_not_mixed_up(reference):
    blurred = DISTORTIONS["box4_nearest"](reference[:2])
    assert abs(vmaf(reference[:2], blurred).mean() - vmaf(blurred, reference[:2]).mean()) > 5


def test_streams_odd_sizes_and_crops(reference):
    clip = reference[:2, :101, :121]
    disturbed = clip.copy()
    disturbed[:, :8] = 0
    scores = vmaf(iter(clip), iter(disturbed), crop_px=8)
    np.testing.assert_allclose(scores, vmaf(clip, clip, crop_px=8))
    assert scores.shape == (2,)
    assert vmaf(clip, disturbed).mean() < scores.mean() - 5


def test_unusable_input_is_refused(reference):
    clip = reference[:2, :64, :64]
    with pytest.raises(OptionError, match="number of frames"):
        vmaf(clip, clip[:1])
    with pytest.raises(OptionError, match="one shape"):
        vmaf(clip, clip[:, :62])
    with pytest.raises(OptionError, match="at least one"):
        vmaf(clip[:0], clip[:0])
    with pytest.raises(OptionError, match="at least 32"):
        vmaf(clip, clip, crop_px=20)
    with pytest.raises(ResourceError):
        vmaf(clip, clip, model="vmaf_v99")


def test_the_plain_and_the_neg_model_are_metrics(reference):
    clip, blurred = reference[:2], DISTORTIONS["box4_nearest"](reference[:2])
    found = measure(blurred, clip, metrics=["vmaf", "vmaf_neg"], crop_px=0)
    assert found["vmaf"].tolist() == vmaf(clip, blurred, model="vmaf_v0.6.1").tolist()
    assert found["vmaf_neg"].tolist() == vmaf(clip, blurred).tolist()
    assert available(["vmaf"]).missing == {}
