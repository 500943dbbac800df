"""The predicted peak against the bytes of all tensors alive, phase by phase; plans that places and budgets lead to."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from starvsr.engine.chunk_plan import PlanInput, Sizes
from starvsr.engine.upscaler import JobSettings
from starvsr.errors import ResourceError
from starvsr.families.options import UpscaleOptions
from starvsr.families.registry import get_entry
from starvsr.families.stablevsr.footprint import DECODE, FLOW, SAMPLE
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.offload.footprint import ClipSize
from starvsr.offload.trace import FusedAttention, LiveBytes
from tests.families.stablevsr.clips import clip, run
from tests.families.stablevsr.test_load import load

MB = 2**20


class StillFlow(FlowEstimator):
    """No motion; holds nothing but its result."""

    name = "still"

    def __call__(self, frames, others):
        return torch.zeros(len(frames), 2, *frames.shape[-2:])


def settings(count, seed=1):
    """(frames, height, width, frames at once, guidance, texture scale), drawn from a seed."""
    rng = random.Random(seed)
    for index in range(count):
        yield (
            rng.choice((1, 2, 3)),
            4 * rng.randint(8, 13),
            4 * rng.randint(8, 13),
            rng.choice((1, 2, 4)),
            2.0 if index % 5 == 0 else 1.0,
            0.0 if index % 7 == 6 else 1.0,
        )


@torch.inference_mode(False)
@torch.no_grad()
def counted(pipeline, lq):
    """Return the peak bytes of sampling one step, and of decoding, beside weights and the frames given."""
    loaded = pipeline.loaded
    weights = [
        *loaded.unet.parameters(),
        *loaded.tcm.parameters(),
        *loaded.vae.parameters(),
        *loaded.guide.parameters(),
    ]
    frames = lq[0].transpose(0, 1).contiguous()
    with FusedAttention(), LiveBytes([*weights, frames]) as live:
        flows = pipeline._flows(frames, {"num_steps": 1})
        latents = pipeline._sample(frames, flows, {"num_steps": 1})
    sampling = live.peak
    with FusedAttention(), LiveBytes([*weights, *latents]) as live:
        pipeline._decode(latents[0])
    return sampling, live.peak


@pytest.fixture(scope="module")
def still(published):
    model = load(published)
    object.__setattr__(model._loaded, "flow", StillFlow())
    return model


@pytest.mark.parametrize(("frames", "height", "width", "at_once", "guidance", "scale"), list(settings(20)))
def test_the_prediction_is_what_is_counted(still, frames, height, width, at_once, guidance, scale):
    values = {"guidance": guidance, "prompt": "a cat"} if guidance != 1 else {}
    pipeline = still.pipeline({**values, "texture_scale": scale})
    plan, size = StableVSRPlan(frames_at_once=at_once), ClipSize(frames, height, width)
    pipeline.memory.apply_plan(plan)
    sampling, decoding = counted(pipeline, clip(frames, height, width))
    for phase, found in ((SAMPLE, sampling), (DECODE, decoding)):
        peak = replace(pipeline.memory.footprint, directions=min(1, pipeline.memory.footprint.directions)).peak(
            phase, size, plan
        )
        given = 12 * frames * height * width if phase == SAMPLE else 0  # frames that were not counted
        held = peak.clip - given if phase == SAMPLE else 0
        assert 0.97 * found <= held + peak.work <= 1.12 * found + MB // 4, (phase, found, held, peak.work)


def plan_for(model, memory="auto", frames=30, **options):
    sizes = Sizes(180, 320, 4, 720, 1280)
    return model.plan(PlanInput(sizes, UpscaleOptions(memory=memory, **options), frames), JobSettings(num_steps=50))


def test_a_smaller_budget_gives_shorter_segments_and_smaller_batches(model):
    free, tight = plan_for(model), plan_for(model, memory=1500 * MB)
    assert tight.memory <= 1500 * MB < free.memory
    assert (tight.length, tight.memory_plan.frames_at_once) < (free.length, free.memory_plan.frames_at_once)


def test_a_budget_that_holds_nothing_is_refused_with_what_is_needed(model):
    with pytest.raises(ResourceError, match=r"frames of 320x180 need .* at least and --memory is 300 MB"):
        plan_for(model, memory=300 * MB)


def test_places_go_from_all_resident_to_streamed(model, monkeypatch):
    """On a device with memory of its own; the TCM stays while the UNet's blocks are streamed."""
    footprint = replace(model.pipeline().memory.footprint, device="cuda")
    weights = [footprint.weights(place, SAMPLE) for place in ("resident", "offload", "stream")]
    assert weights == sorted(weights, reverse=True) and len(set(weights)) >= 2
    assert weights[2] > footprint.components["tcm"].total
    assert footprint.weights("stream", DECODE) == footprint.components["decoder"].total
    assert footprint.weights("stream", FLOW) == 0


def test_results_do_not_depend_on_where_weights_live(published):
    """A CPU stands in for the device: weights are copied there and freed.

    Resident ones are copies, too, as on a device: some processors compute otherwise, in the last bit, with weights that
    begin anywhere, as those that are mapped from a file do.
    """
    model = get_entry("stablevsr").load(weights=published, flow="dis")
    lq, made = clip(2), []
    for place in ("resident", "offload", "stream"):
        pipeline = model.pipeline()
        for part in vars(pipeline.networks).values():
            for parameter in part.parameters() if isinstance(part, torch.nn.Module) else ():
                parameter.data = parameter.data.clone()
        pipeline.memory.apply_plan(StableVSRPlan(place))
        made.append(torch.stack(list(pipeline.upscale_frames(lq, slice(None), num_steps=1))))
        pipeline.memory.end()
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])


def test_out_of_memory_continues_with_a_smaller_batch(model):
    """Without a neighbour to decode, the maps of four frames with two texts are most of what is held."""
    values = {"guidance": 2.0, "prompt": "a cat", "texture_scale": 0.0}
    lq, expected = clip(4), run(model, clip(4), steps=1, **values)
    pipeline = model.pipeline(values)
    pipeline.memory.apply_plan(StableVSRPlan(frames_at_once=4))
    encode, sizes = pipeline.networks.encode, []

    def small_memory(x, lq, timestep):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return encode(x, lq, timestep)

    object.__setattr__(pipeline.networks, "encode", small_memory)
    replanned = []
    pipeline.memory.on_smaller_plan = replanned.append
    made = torch.stack(list(pipeline.upscale_frames(lq, slice(None), num_steps=1)))
    torch.testing.assert_close(made, expected, atol=2e-4, rtol=0)
    assert sizes[0] == 4 and max(sizes[1:]) <= 2 and replanned[-1].frames_at_once <= 2 and pipeline.notes


def test_int8_keeps_a_quarter_of_the_weights_and_the_picture(published, model):
    small = load(published, precision="int8")
    whole, packed = (each.pipeline().memory.footprint.components["tcm"].total for each in (model, small))
    assert packed < 0.55 * whole  # a tiny network has many weights that stay
    lq = clip(1)
    difference = (run(small, lq, steps=1) - run(model, lq, steps=1)).abs().mean()
    assert 0 < float(difference) < 0.05
