"""One suite over every kind of model: any number of frames, odd sizes, repeatable bytes, independent jobs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from starvsr.engine.chunk_plan import PlanInput, Sizes, whole_clip
from starvsr.engine.clip_upscaler import ClipUpscaler, FunctionUpscaler
from starvsr.engine.executor import LocalExecutor
from starvsr.engine.render import Finish
from starvsr.engine.segment_task import RenderSettings
from starvsr.engine.segments import Segment, plan_segments
from starvsr.engine.stream import StreamSettings, upscale_stream
from starvsr.engine.traits import ClipLengths, Traits
from starvsr.engine.upscaler import JobSettings, Upscaler
from starvsr.errors import OptionError
from starvsr.families.bicubic import BicubicUpscaler
from starvsr.families.causal_sr.pipeline import CausalPipeline
from starvsr.families.causal_sr.spec import CAUSAL_SR
from starvsr.families.job_settings import blended_detail, complete_options, job_settings, plain_settings
from starvsr.families.options import UpscaleOptions, default_of, model_options
from starvsr.families.registry import get_entry
from starvsr.families.settings import PROMPT_SOURCES
from starvsr.families.star_small.pipeline import StarSmallUpscaler
from starvsr.models.causal_sr import CausalSR
from starvsr.models.causal_sr_config import CausalSRConfig
from tests.support.doubles import NearestUpscaler, random_frames
from tests.support.tiny_star import TinyStar, clip

WIDTH, HEIGHT, LENGTH = 9, 7, 4
LEAST_PX = {"tiny stablevsr": 32}
"""Models that refuse smaller frames."""


class ChunkUpscaler(NearestUpscaler):
    """Takes 4k + 1 frames, like causal video autoencoders."""

    def upscale_clip(self, lq: Tensor, **arguments: Any) -> Tensor:
        assert lq.shape[2] % 4 == 1, lq.shape
        return super().upscale_clip(lq, **arguments)


class CausalUpscaler(NearestUpscaler):
    """Wants two frames before every segment, and none after it."""

    def upscale_clip(self, lq: Tensor, **arguments: Any) -> Tensor:
        assert lq.shape[2] >= 3, lq.shape
        return super().upscale_clip(lq, **arguments)


class WholeClipUpscaler(NearestUpscaler):
    """Must see all frames of a job at once."""

    def upscale_clip(self, lq: Tensor, **arguments: Any) -> Tensor:
        assert not self.calls, "the clip came in pieces"
        return super().upscale_clip(lq, **arguments)


def repeat_pixels(lq: Tensor) -> Tensor:
    return lq.repeat_interleave(2, 3).repeat_interleave(2, 4)


def tiny_causal() -> CausalPipeline:
    torch.manual_seed(0)
    sizes = CausalSRConfig(width=8, num_blocks=2, memory=1, up_width=4, thin_width=4)
    return CausalPipeline(CAUSAL_SR, CausalSR(sizes))


@lru_cache
def tiny_stablevsr_folder() -> Path:
    from tests.support.stablevsr_folder import write_folder

    return write_folder(Path(tempfile.mkdtemp(prefix="starvsr-test-")) / "StableVSR")


@lru_cache
def tiny_stablevsr() -> Upscaler:
    pytest.importorskip("diffusers")
    return get_entry("stablevsr").load(weights=tiny_stablevsr_folder(), flow="dis")


@lru_cache
def star_small() -> Upscaler:
    return StarSmallUpscaler.load("star-small", precision="fp32")


def tiny_star_cogvideox() -> Upscaler:
    pytest.importorskip("diffusers")
    from tests.support.tiny_cogvideox import tiny_cogvideox

    return tiny_cogvideox()


MODELS: dict[str, Callable[[], Upscaler]] = {
    "bicubic": BicubicUpscaler,
    "star-small": star_small,
    "tiny star-light": TinyStar,
    "tiny causal-sr": tiny_causal,
    "tiny stablevsr": tiny_stablevsr,
    "tiny star-cogvideox": tiny_star_cogvideox,
    "whole clip": lambda: WholeClipUpscaler(traits=Traits(lengths=ClipLengths(whole=True))),
    "4k + 1": lambda: ChunkUpscaler(traits=Traits(lengths=ClipLengths(multiple=4, offset=1))),
    "causal": lambda: CausalUpscaler(traits=Traits(overlap=2, overlap_after=0, repeat_first_frame=True)),
    "function": lambda: FunctionUpscaler("pixels", 2, repeat_pixels),
}
EXACT = {"whole clip": 4, "4k + 1": 4, "causal": 4, "function": 2}
"""Models that repeat each pixel so many times, so that what must come out is known."""


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> Upscaler:
    return MODELS[name]()


def at_least(name: str, *sides: int) -> tuple[int, ...]:
    """Return the sides, none below what a model takes."""
    return tuple(max(side, LEAST_PX.get(name, 1)) for side in sides)


def run(model: Upscaler, frames: list[Any], options: UpscaleOptions, **steps: int) -> list[np.ndarray]:
    """Plan as a job is planned, and run the stream."""
    job, traits = job_settings(model, options)
    job = dataclasses.replace(job, **steps)
    if traits.lengths.whole:
        options = whole_clip(options, len(frames))
    height, width = frames[0].pixels.shape[:2]
    sizes = Sizes(height, width, job.scale, height * job.scale, width * job.scale)
    plan = model.plan(PlanInput(sizes, options, len(frames)), job)
    out: list[np.ndarray] = []
    finish = Finish(sizes.out_width, sizes.out_height)
    segments = plan_segments(len(frames), plan.length, plan.overlap, plan.crossfade, (), plan.overlap_after)
    with model.open(job, plan) as session:
        settings = StreamSettings(RenderSettings(plan, job, traits), finish)
        sink = lambda pixels, pts, duration: out.append(pixels)  # noqa: E731
        upscale_stream(frames, segments, sink, LocalExecutor(session), settings)
    return out


@pytest.mark.parametrize("num_frames", [1, 2, LENGTH - 1, LENGTH, LENGTH + 1, 3 * LENGTH])
def test_as_many_frames_come_out_as_go_in(name: str, model: Upscaler, num_frames: int) -> None:
    segment: dict[str, Any] = {} if name == "whole clip" else {"segment": LENGTH}
    options = UpscaleOptions(scale=EXACT.get(name, 4), **segment)
    height, width = at_least(name, HEIGHT, WIDTH)
    frames = random_frames(num_frames, height, width)
    out = run(model, frames, options, num_steps=1)
    scale = EXACT.get(name, 4)
    assert [pixels.shape for pixels in out] == [(scale * height, scale * width, 3)] * num_frames
    if name in EXACT:
        for given, made in zip(frames, out, strict=True):
            np.testing.assert_array_equal(made, given.pixels.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (2, 17)])
def test_sizes_may_be_odd_and_small(name: str, model: Upscaler, size: tuple[int, int]) -> None:
    if name in LEAST_PX:
        size = LEAST_PX[name] + size[0], LEAST_PX[name] + size[1]
    (made,) = run(model, random_frames(1, *size), UpscaleOptions(scale=EXACT.get(name, 4)), num_steps=1)
    scale = EXACT.get(name, 4)
    assert made.shape == (scale * size[0], scale * size[1], 3)


def test_the_same_seed_gives_the_same_bytes_in_every_session(name: str) -> None:
    frames = random_frames(5, *at_least(name, HEIGHT, WIDTH))
    options = UpscaleOptions(seed=7, scale=EXACT.get(name, 4))  # accepted by models that draw no noise, too
    same = MODELS[name]()
    models = (MODELS[name](), MODELS[name]()) if name == "whole clip" else (same, same)
    one, two = (run(model, frames, options, num_steps=1) for model in models)
    assert all(np.array_equal(*pair) for pair in zip(one, two, strict=True))


def test_sessions_may_take_turns(name: str) -> None:
    if name == "whole clip":
        pytest.skip("the double takes one clip only")
    model = MODELS[name]()
    small, large = clip(5, *at_least(name, 4, 6)), clip(9, *at_least(name, 6, 4))
    jobs = [dataclasses.replace(plain_settings(model), seed=seed, num_steps=1) for seed in (1, 2)]

    def made(session: Any, lq: Tensor) -> Tensor:
        whole = Segment(0, 0, lq.shape[2], 0, lq.shape[2])
        return torch.stack(list(session.upscale(lq, slice(1, 3), segment=whole, first_frame=0)))

    with model.open(jobs[0]) as alone:
        wanted = made(alone, small)
    with model.open(jobs[0]) as one, model.open(jobs[1]) as two:
        assert torch.equal(made(one, small), wanted)
        made(two, large)
        assert torch.equal(made(one, small), wanted)
    assert one.notes == two.notes == [] and one.notes is not two.notes


def test_4k_plus_1_segments_are_planned_in_lengths_that_waste_nothing() -> None:
    model = ChunkUpscaler(traits=Traits(lengths=ClipLengths(multiple=4, offset=1), overlap=3))
    plan = model.plan(PlanInput(Sizes(HEIGHT, WIDTH, 4, 4 * HEIGHT, 4 * WIDTH), UpscaleOptions()), JobSettings())
    assert (plan.length + 2 * plan.overlap) % 4 == 1
    run(model, random_frames(40, HEIGHT, WIDTH), UpscaleOptions(segment=7))  # what the user fixed is filled up
    assert {shape[2] for shape, *_ in model.calls} <= {5, 9, 13}


def test_lengths_of_clips() -> None:
    assert [ClipLengths(4, 1).at_least(n) for n in (1, 2, 5, 6)] == [1, 5, 5, 9]
    assert [ClipLengths(8).at_least(n) for n in (1, 8, 9)] == [8, 8, 16]
    assert [ClipLengths().at_least(n) for n in (1, 2, 3)] == [1, 2, 3]


def test_tiles_are_refused_by_a_model_that_takes_whole_frames() -> None:
    model = NearestUpscaler(traits=Traits(tiling="none"))
    assert len(run(model, random_frames(2, 40, 40), UpscaleOptions())) == 2
    with pytest.raises(OptionError, match=r"leave out --tile$"):
        run(model, random_frames(2, 40, 40), UpscaleOptions(tile=16))


def test_the_smallest_scale_that_reaches_the_jobs_is_taken() -> None:
    class Both(ClipUpscaler):
        name = "both"

        def traits_for(self, values: Any) -> Traits:
            return Traits(scales=(2, 4))

    for wanted, scale in ((1, 2), (2, 2), (2.5, 4), (4, 4)):
        assert job_settings(Both(), UpscaleOptions(scale=wanted))[0].scale == scale
    with pytest.raises(OptionError, match="enlarges 2 times at most"):
        job_settings(FunctionUpscaler("f", 2, repeat_pixels), UpscaleOptions(scale=3))


SAMPLES: dict[str, Any] = {
    "weights": "other.safetensors",
    "steps": 3,
    "seed": 5,
    "detail": 0.7,
    "prompt": "a red barn",
    "prompt_from": "texts",
    "caption": "describe",
    "caption_frames": 2,
    "caption_timeout": 5,
    "window": 3,
    "precision": "bf16",
    "flow": "raft",
    "tcm": "trained",
    "guidance_decoder": "trained",
    "texture_scale": 0.5,
    "texture_start": 0.5,
    "texture_end": 0.5,
    "texture_every": 2,
    "negative_prompt": "fog",
    "guidance": 2.0,
    "sampler": "ddim",
    "guidance_curve": "smooth",
    "step_list": "normal",
    "guidance_interval": "300:700",
    "feature_cache": 2,
    "guidance_pair": "together",
    "attention": "math",
    "compile": "default",
    "exact": True,
    "padding": "released",
    "window_join": "released",
    "decode_groups": "released",
    "prompt_join": "released",
    "rounding": "released",
    "noise": "released",
}
SAMPLES_OF = {"tiny star-cogvideox": {"window": 1}}
"""Samples for models that take other values: of 4k + 1 frames, shorter than the clip."""
CLIPS = {"tiny stablevsr": (3, 32, 32), "tiny star-cogvideox": (5, 8, 8)}
"""Frames, height and width of the clips on which settings are tried, where they are not those of the others."""
SAME_NUMBERS = {"guidance_pair", "attention", "step_list"}
"""Settings that may lead to the same numbers on a CPU (the last one beside ``steps``): that they arrive is enough."""
LARGE = {"padding", "exact"}
"""Settings that make clips of 1280x720 pixels: too much for a test."""
NEEDED: dict[str, dict[str, Any]] = {
    "tiny stablevsr": {"guidance": {"prompt": "a red barn"}, "negative_prompt": {"guidance": 3.0}}
}
"""Settings without which others are refused, or have little to do."""


def test_there_is_a_sample_of_every_setting_of_a_model() -> None:
    assert SAMPLES.keys() == {name for name, _ in model_options()}
    assert all(value != default_of(name) for name, value in SAMPLES.items())


KINDS = ["bicubic", "star-small", "tiny star-light", "tiny stablevsr", "tiny star-cogvideox", "function"]


@pytest.mark.parametrize("setting", SAMPLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_given_with_a_loaded_model_changes_the_output_or_is_refused(kind: str, setting: str) -> None:
    model = MODELS[kind]()
    sample = SAMPLES_OF.get(kind, {}).get(setting, SAMPLES[setting])
    needed = NEEDED.get(kind, {}).get(setting, {})
    if setting in ("caption_frames", "caption_timeout"):
        needed = {"caption": "describe"}
    options = UpscaleOptions(scale=2, **{setting: sample}, **needed)
    try:
        job, _ = job_settings(model, complete_options(model, options))
    except OptionError as error:
        refused = next(iter(needed), setting) if kind in ("bicubic", "star-small", "function") else setting
        assert f"--{refused.replace('_', '-')}" in str(error)
        assert setting not in model.traits_for({}).accepts
        return
    if setting in PROMPT_SOURCES:  # by these the prompt is found before the model is asked: tests/jobs/prompts
        assert job.values == {} and "prompt" in model.traits_for({}).accepts
        return
    if setting == "detail" and "detail" not in model.traits_for({}).accepts:
        # done when frames are finished, by the engine: tests/families/test_job_settings.py
        assert job.values == {} and blended_detail(model, options) == SAMPLES["detail"]
        return
    if setting == "seed":
        assert job.seed == SAMPLES["seed"]
        if not kind.startswith("tiny"):
            return  # the same bytes for every seed are the same bytes for this seed
    elif setting != "steps":
        assert job.values == {setting: sample, **needed}
    if kind in CLIPS and setting == "exact":
        assert model.traits_for(job.values).lengths.whole and not model.traits_for({}).lengths.whole
        return
    if setting in LARGE | SAME_NUMBERS:
        assert isinstance(model, TinyStar)
        made, plain = model.pipeline(job.values), model.pipeline()
        assert made.sampling != plain.sampling or made._attention is not plain._attention
        return
    lq = _clip_of(kind)
    if setting == "window_join":  # joins what is longer than a window
        model = TinyStar(window=3)
        job = dataclasses.replace(job, values={**job.values, "window": 3})
    plain_values = needed if kind != "tiny stablevsr" or setting != "negative_prompt" else {}
    steps = 2 if setting == "steps" or "steps" in model.traits_for({}).accepts else job.num_steps
    plain_job = dataclasses.replace(plain_settings(model, **plain_values), num_steps=steps, scale=job.scale)
    if setting != "steps":
        job = dataclasses.replace(job, num_steps=steps)
    made = _output(model, job, lq)
    if setting == "window_join":
        assert not torch.equal(made, _output(model, plain_job, lq))
    else:
        assert not torch.equal(made, _plain_output(kind, plain_job.scale, steps, tuple(plain_values.items())))


@lru_cache
def _plain_output(kind: str, scale: int, steps: int, values: tuple[tuple[str, Any], ...]) -> Tensor:
    """What a model makes without the setting, by another instance: each has the same weights and draws by the seed."""
    model = MODELS[kind]()
    job = dataclasses.replace(plain_settings(model, **dict(values)), num_steps=steps, scale=scale)
    made = _output(model, job, _clip_of(kind))
    assert torch.equal(made, _output(MODELS[kind](), job, _clip_of(kind)))  # so that it is the setting that changes it
    return made


def _clip_of(kind: str) -> Tensor:
    return clip(*CLIPS.get(kind, (7, 8, 8)))


def _output(model: Upscaler, job: JobSettings, lq: Tensor) -> Tensor:
    whole = Segment(0, 0, lq.shape[2], 0, lq.shape[2])
    with model.open(job) as session:
        return torch.stack(list(session.upscale(lq, slice(0, lq.shape[2]), segment=whole, first_frame=0)))
