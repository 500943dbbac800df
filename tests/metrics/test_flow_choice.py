"""Which flow the temporal metrics rest on: the methods by name, and the clip that flow is estimated from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.errors import OptionError
from starvsr.metrics.evaluate import ClipPair, by_clip, evaluate, measure
from starvsr.metrics.flow_choice import FittedRaft, choose_flow, estimate_flow
from starvsr.metrics.temporal import clip_warping_error
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.raft import RaftFlow
from tests.metrics.synthetic_clips import DISTORTIONS


@pytest.mark.parametrize("name", ["dis", "dis-fast", "farneback"])
def test_flow_by_name_finds_the_pan(reference, name):
    flow = estimate_flow(reference[0], reference[1], choose_flow(name))
    assert np.median(np.abs(flow[20:-20, 20:-20] - np.array([-2, -1])), axis=(0, 1)).max() < 0.1
    assert flow.shape == (240, 320, 2) and flow.dtype == np.float32


def test_unknown_flow_and_source_are_refused(reference):
    with pytest.raises(OptionError, match="unknown flow 'flownet2': choose from dis, dis-fast, farneback, raft"):
        choose_flow("flownet2")
    with pytest.raises(OptionError, match="flow_source='best' is unknown: choose from auto, gt, lq, hq"):
        measure(reference, reference, metrics=["warping_error_x1e3"], flow_source="best")
    assert measure(reference[:1], reference[:1], metrics=["psnr_y_db"], flow="raft")  # nothing asks for its weights


def test_raft_takes_frames_of_any_size():
    seen = []

    def network(frames, others, num_flow_updates):
        seen.append(frames.shape)
        return [torch.zeros(1, 2, *frames.shape[-2:]), frames[:, :2] - others[:, :2]]

    frame, other = torch.rand(2, 1, 3, 90, 133, generator=torch.Generator().manual_seed(0))
    flow = FittedRaft(RaftFlow(network))(frame, other)
    assert torch.equal(flow, frame[:, :2] - other[:, :2])
    assert seen == [(1, 3, 128, 136)]


class Recording:
    """DIS that notes the frames it is asked about."""

    name = "recording"

    def __init__(self):
        self.asked = []

    def __call__(self, frames, others):
        self.asked.append((frames.mean().item(), others.mean().item()))
        return DisFlow()(frames, others)


def test_the_source_decides_whose_motion_the_error_is_measured_by(reference):
    gt = reference[:3, :64, :80]
    lq = gt.reshape(3, 16, 4, 20, 4, 3).mean((2, 4)).round().astype(np.uint8)
    hq = DISTORTIONS["noise24"](gt)
    sources = {"gt": gt, "hq": hq}
    for name, guide in sources.items():
        found = measure(hq, gt, lq=lq, metrics=["warping_error_x1e3"], crop_px=0, flow_source=name)
        assert found["warping_error_x1e3"][1:].tolist() == clip_warping_error(hq, guide).tolist()
    alone = measure(hq, lq=lq, metrics=["warping_error_x1e3"], crop_px=0)["warping_error_x1e3"]
    told = measure(hq, gt, lq=lq, metrics=["warping_error_x1e3"], crop_px=0, flow_source="lq")["warping_error_x1e3"]
    assert told[1:].tolist() == alone[1:].tolist()
    assert len({clip_warping_error(hq, guide)[0] for guide in sources.values()} | {told[1]}) == 3
    itself = measure(hq, metrics=["warping_error_x1e3"], crop_px=0, flow_source="hq")["warping_error_x1e3"]
    assert itself[1:].tolist() == clip_warping_error(hq, hq).tolist()


def test_the_protocol_says_which_flow_and_missing_clips_are_told(reference):
    pair = ClipPair("a", "g", reference[:2, :64, :64], reference[:2, :64, :64])
    table = evaluate(
        [pair], {"same": by_clip(lambda lq: lq)}, metrics=["tof_x10", "warping_error_x1e3"], flow="farneback",
        flow_source="hq",
    )  # fmt: skip
    assert "Farneback" in table.protocol["flow"] and table.protocol["flow"].endswith("of the result itself")
    for source, words in {"gt": "a ground truth", "lq": "the low-quality input"}.items():
        with pytest.raises(OptionError, match=f'needs {words} and the clip has none: .*flow_source="hq"'):
            measure(reference[:2], metrics=["warping_error_x1e3"], flow_source=source)


def test_tof_uses_the_flow_that_is_asked_for_and_estimates_nothing_twice(reference):
    gt, hq = reference[:3, :64, :80], DISTORTIONS["noise24"](reference[:3, :64, :80])
    flow = Recording()
    found = measure(hq, gt, metrics=["tof_x10", "warping_error_x1e3"], crop_px=0, flow=flow)
    assert len(flow.asked) == 6 == len(set(flow.asked))  # of two pairs: both ways of gt, one of hq
    own = DisFlow()
    wanted = [
        10 * np.abs(own.of_bytes(hq[t], hq[t - 1]) - own.of_bytes(gt[t], gt[t - 1])).mean(dtype=np.float64)
        for t in (1, 2)
    ]
    assert found["tof_x10"][1:].tolist() == wanted
    assert measure(hq, gt, metrics=["tof_x10"], crop_px=0)["tof_x10"][1:].tolist() == wanted
