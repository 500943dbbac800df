"""Frames pushed in: the same as a job makes, as early as is promised, and no more held than a segment needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import starvsr
from starvsr.engine.traits import ClipLengths, Traits
from starvsr.errors import InputError, OptionError
from starvsr.families.causal_sr.pipeline import CausalPipeline
from starvsr.families.causal_sr.spec import CAUSAL_SR
from starvsr.models.causal_sr import CausalSR
from starvsr.models.causal_sr_config import CausalSRConfig
from tests.support.doubles import NearestUpscaler


def _frames(count: int, channels: int = 3, dtype: type = np.uint8) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, np.iinfo(dtype).max, (count, 6, 8, channels), dtype, endpoint=True))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 30])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_frame_comes_out_once_and_in_order(count: int, dtype: type) -> None:
    frames = _frames(count, 4, dtype)
    made = list(starvsr.stream(iter(frames), upscaler=NearestUpscaler(), segment=4, scale=4))
    assert len(made) == count
    for frame, large in zip(frames, made, strict=True):
        assert large.shape == (24, 32, 4) and large.dtype == dtype
        assert np.array_equal(large[..., :3], frame[..., :3].repeat(4, 0).repeat(4, 1))
    assert list(starvsr.stream([], upscaler=NearestUpscaler())) == []


@pytest.mark.parametrize(("length", "overlap", "after"), [(1, 0, 0), (4, 2, 0), (4, 2, 2), (3, 1, 5)])
def test_the_latency_is_kept_and_no_more_is_held(length: int, overlap: int, after: int) -> None:
    model = NearestUpscaler(traits=Traits(accepts=frozenset(), overlap=overlap, overlap_after=after))
    with starvsr.open_stream(8, 6, upscaler=model, segment=length) as opened:
        assert opened.latency == length - 1 + after
        out = 0
        for number, frame in enumerate(_frames(40), 1):
            out += len(opened.push(frame))
            assert number - out == opened.num_waiting <= opened.latency
            assert len(opened._held) <= opened.latency + 1 + overlap
        assert out + len(opened.finish()) == 40 and opened.num_waiting == 0


def test_a_causal_model_frame_by_frame_gives_the_bytes_of_the_whole() -> None:
    torch.manual_seed(0)
    sizes = CausalSRConfig(width=8, num_blocks=2, memory=2, up_width=4, thin_width=4)
    model = CausalPipeline(CAUSAL_SR, CausalSR(sizes))
    frames = _frames(12)
    whole = list(starvsr.stream(frames, upscaler=model, segment=12))
    with starvsr.open_stream(8, 6, upscaler=model, segment=1) as opened:
        assert opened.latency == 0
        single = [opened.push(frame)[0] for frame in frames]
    assert np.array_equal(whole, single)


def test_a_cut_parts_what_is_seen_together() -> None:
    torch.manual_seed(0)
    model = CausalPipeline(
        CAUSAL_SR, CausalSR(CausalSRConfig(width=8, num_blocks=2, memory=2, up_width=4, thin_width=4))
    )
    frames = _frames(10)
    apart = [*starvsr.stream(frames[:5], upscaler=model), *starvsr.stream(frames[5:], upscaler=model)]
    with starvsr.open_stream(8, 6, upscaler=model, segment=3) as opened:
        made = [large for frame in frames[:5] for large in opened.push(frame)]
        made += opened.cut()
        made += [large for frame in frames[5:] for large in opened.push(frame)]
        made += opened.finish()
    assert np.array_equal(made, apart)


def test_options_of_pictures_are_honoured_and_others_refused() -> None:
    frames = _frames(3)
    plain = list(starvsr.stream(frames, model="bicubic", device="cpu"))
    nearest = NearestUpscaler()
    none = list(starvsr.stream(frames, upscaler=nearest, detail=0, scale=4))
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(plain, none, strict=True))
    for values in ({"crf": 3}, {"start": 1}, {"height": 12}, {"isolate": True}, {"devices": "cpu"}, {"guidance": 3}):
        with pytest.raises(OptionError, match="--" + next(iter(values))):
            list(starvsr.stream(frames, upscaler=nearest, **values))
    whole = NearestUpscaler(traits=Traits(accepts=frozenset(), lengths=ClipLengths(whole=True)))
    with pytest.raises(OptionError, match="whole clip"):
        list(starvsr.stream(frames, upscaler=whole))


def test_other_frames_than_the_first_are_refused() -> None:
    good = _frames(1)[0]
    for bad in (good[:5], good.astype(np.uint16), good[..., :1], good.astype(np.float32), _frames(1, 4)[0]):
        with starvsr.open_stream(8, 6, upscaler=NearestUpscaler()) as opened:
            opened.push(good)
            with pytest.raises(InputError, match="pushed into a stream of 8x6"):
                opened.push(bad)
