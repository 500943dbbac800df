"""Tiles and strips: where tiles lie, that they do not show, what plans need in memory, and when they are chosen."""

from __future__ import annotations

import bisect
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from starvsr.engine.chunk_plan import PlanInput, Sizes
from starvsr.engine.upscaler import JobSettings
from starvsr.errors import OptionError, ResourceError
from starvsr.families.options import UpscaleOptions
from starvsr.families.stablevsr import call_bytes
from starvsr.families.stablevsr.footprint import DECODE, SAMPLE
from starvsr.families.stablevsr.guidance_decoder import Described, GuidanceDecoder, GuidanceDecoderConfig
from starvsr.families.stablevsr.plan import StableVSRPlan, list_plans
from starvsr.families.stablevsr.sampling import Guidance, sample
from starvsr.families.stablevsr.strips import decode_in_strips
from starvsr.families.stablevsr.tiles import TiledNetworks, axes_of_tiles, axis_of_tiles
from starvsr.offload.footprint import ClipSize, PlanLimits
from starvsr.training.guidance_decoder import write_decoder
from starvsr.windows import Window
from tests.families.stablevsr.clips import clip, run
from tests.families.stablevsr.test_footprint import counted, plan_for, still
from tests.families.stablevsr.test_load import load
from tests.families.stablevsr.test_sampling import SCHEDULER

__all__ = ["still"]  # a fixture
MB = 2**20
CUT = StableVSRPlan(tiles=(2, 2), tile_overlap=8, decoding_strips=True)


@pytest.fixture(scope="module", autouse=True)
def many_strips():
    """As many as a large frame has; traces of other tests are of fewer."""
    before, decode_in_strips.__defaults__ = decode_in_strips.__defaults__, (100_000,)
    call_bytes._trace.cache_clear()
    yield
    decode_in_strips.__defaults__ = before
    call_bytes._trace.cache_clear()


@pytest.mark.parametrize("cells", [32, 36, 100, 180, 540, 964])
@pytest.mark.parametrize(("count", "overlap"), [(1, 32), (2, 8), (3, 30), (7, 16)])
def test_tiles_cover_an_axis_and_begin_on_the_coarsest_grid(cells, count, overlap):
    tiles = axis_of_tiles(cells, count, overlap)
    assert len(tiles) <= count and tiles[0].start == 0 and tiles[-1].stop == cells
    assert all(tile.start % 8 == 0 for tile in tiles)
    assert all(one.stop - other.start >= overlap for one, other in pairwise(tiles))
    assert len({tile.length for tile in tiles[:-1]}) <= 1 and tiles[0].length - tiles[-1].length < 8
    assert [index for tile in tiles for index in range(tile.keep_start, tile.keep_stop)] == list(range(cells))


class Identitylike:
    """Networks that hand on what they are given, smoothed a little, so that the border of a tile is seen by them."""

    def __init__(self, offset=0.0):
        self.offset, self.calls = offset, 0

    def predict(self, x, lq, timestep, guide, scale):
        self.calls += 1
        seen = x + lq.mean(1, keepdim=True)
        if guide is not None:
            seen = seen + scale * F.avg_pool2d(guide.mean(1, keepdim=True), 4)
        return F.avg_pool2d(seen, 3, 1, 1) + self.offset * (self.calls % 3)

    def decode(self, latent):
        return F.avg_pool2d(latent[:, :3].repeat_interleave(4, 2).repeat_interleave(4, 3), 5, 1, 2)


def sampled(networks, axes=None, frames=3):
    """Latents of a random clip, 48x64, after two guided steps."""
    generator = torch.Generator().manual_seed(3)
    lq, noise = (torch.randn(frames, channels, 48, 64, generator=generator) for channels in (3, 4))
    cut = networks if axes is None else TiledNetworks(networks, axes)
    flow = torch.full((1, 2, 192, 256), 0.4)
    made = sample(
        cut,
        SCHEDULER,
        lq,
        list(noise.split(1)),
        lambda *_: flow,
        SCHEDULER.timesteps(2),
        lambda step, frame: noise[frame : frame + 1] * step,
        guidance=Guidance(),
    )
    return torch.cat(made), torch.cat([cut.decode(latent) for latent in made])


def seam(maps, whole, borders, dim):
    """Change across the borders against that of the whole frame there, by the same of all other lines."""
    steps = [each.diff(dim=dim).square().mean([d for d in range(4) if d != dim]).sqrt() for each in (maps, whole)]
    ratios = steps[0] / steps[1]
    at = torch.zeros(len(ratios), dtype=torch.bool)
    at[torch.tensor(borders) - 1] = True
    return float(ratios[at].max() / ratios[~at].mean())


def test_borders_of_tiles_do_not_show_with_an_identity_like_network():
    axes = axes_of_tiles(48, 64, StableVSRPlan(tiles=(2, 3), tile_overlap=16))
    whole, tiled = sampled(Identitylike()), sampled(Identitylike(), axes)
    for unit, one, other in zip((1, 4), whole, tiled, strict=True):  # latents, pictures
        torch.testing.assert_close(other, one, atol=0.15 * float(one.std()), rtol=0)
        for dim, windows in zip((2, 3), axes, strict=True):
            edges = [edge for w in windows for edge in (w.start, w.keep_start, w.stop)]
            lines = sorted({unit * edge for edge in edges if 0 < edge < windows[-1].stop})
            assert len(lines) >= 3 and seam(other, one, lines, dim) <= 1.02


def test_the_figure_sees_tiles_that_disagree():
    """Cut hard and with an offset for each, they make lines."""
    axes = axes_of_tiles(48, 64, StableVSRPlan(tiles=(2, 3), tile_overlap=16))
    hard = tuple([Window(w.keep_start, w.keep_stop, w.keep_start, w.keep_stop) for w in axis] for axis in axes)
    whole, cut = sampled(Identitylike())[0], sampled(Identitylike(0.5), hard)[0]
    for dim, windows in zip((2, 3), hard, strict=True):
        assert seam(cut, whole, [w.start for w in windows[1:]], dim) > 1.1


def enlarged(model, plan, lq, steps=1, **values):
    pipeline = model.pipeline(values)
    pipeline.memory.apply_plan(plan)
    return torch.stack(list(pipeline.upscale_frames(lq, slice(None), num_steps=steps)))


def test_tiles_of_the_real_networks_stay_near_the_whole_and_are_the_same_each_time(model):
    lq = clip(2, 40, 48)
    whole = enlarged(model, StableVSRPlan(), lq)
    tiled = enlarged(model, CUT, lq)
    assert torch.equal(tiled, enlarged(model, CUT, lq))
    assert 0 < float((tiled - whole).abs().mean()) < 0.1 * float(whole.std())
    strips = enlarged(model, StableVSRPlan(decoding_strips=True), lq)
    assert not torch.equal(strips, whole)  # but for rounding
    torch.testing.assert_close(strips, whole, atol=2e-4, rtol=0)


def test_a_clip_that_is_no_longer_than_the_overlap_is_whole(model):
    lq = clip(1)
    plan = StableVSRPlan(tiles=(3, 3), tile_overlap=32)
    torch.testing.assert_close(enlarged(model, plan, lq), enlarged(model, StableVSRPlan(), lq), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("frames", "size", "tiles", "strips", "values"),
    [
        (2, (40, 56), (2, 2), False, {}),
        (2, (44, 48), (1, 1), True, {}),
        (1, (56, 40), (3, 1), True, {}),
        (2, (32, 40), (1, 2), True, {"guidance": 2.0, "prompt": "a cat"}),
    ],
)
def test_the_prediction_is_what_is_counted(still, frames, size, tiles, strips, values):
    pipeline = still.pipeline(values)
    plan, seen = StableVSRPlan("resident", tiles, 8, 1, strips), ClipSize(frames, *size)
    pipeline.memory.apply_plan(plan)
    sampling, decoded = counted(pipeline, clip(frames, *size))
    footprint = replace(pipeline.memory.footprint, directions=min(1, pipeline.memory.footprint.directions))
    whole = {phase: footprint.peak(phase, seen, StableVSRPlan()).work for phase in (SAMPLE, DECODE)}
    for phase, found in ((SAMPLE, sampling), (DECODE, decoded)):
        peak = footprint.peak(phase, seen, plan)
        held = peak.clip - 12 * frames * size[0] * size[1] if phase == SAMPLE else 0  # the frames are not counted
        assert 0.97 * found <= held + peak.work <= 1.12 * found + MB // 2, (phase, found, held, peak.work)
    if strips:
        assert footprint.peak(DECODE, seen, plan).work < 0.6 * whole[DECODE]


def test_frames_are_cut_only_where_no_whole_one_fits(model):
    """Not even where shorter segments or smaller batches make more work."""

    def fits_whole(budget):
        try:
            return plan_for(model, memory=budget * MB).memory_plan.whole_frames
        except ResourceError:
            return False

    least = bisect.bisect_left(range(4000), True, key=fits_whole)
    above, below = (plan_for(model, memory=budget * MB) for budget in (least, least - 1))
    assert above.memory_plan.frames_at_once == 1 and above.length == 1
    assert below.memory <= (least - 1) * MB and below.length > 1  # which leaves room for longer segments
    assert below.memory_plan.tiles == (1, 1) and "decoder in strips of rows" in below.describe()
    tiled = plan_for(model, memory=int(0.9 * least) * MB)
    assert tiled.memory <= 0.9 * least * MB


def test_strips_come_before_tiles(model):
    """They change nothing but rounding."""
    footprint = model.pipeline().memory.footprint
    plans = footprint.candidates(ClipSize(8, 180, 320), PlanLimits(tile_overlap=32))
    assert plans[0].whole_frames
    costs = {plan: footprint.tile_work(ClipSize(8, 180, 320), plan) + footprint.extra_work(plan) for plan in plans}
    cut = [plan for plan in plans if not plan.whole_frames]
    assert max(costs[plan] for plan in plans if plan.whole_frames) < min(costs[plan] for plan in cut)
    strips = [plan for plan in cut if plan.tiles == (1, 1)]
    assert strips and max(costs[plan] for plan in strips) < min(costs[plan] for plan in cut if plan.tiles != (1, 1))


def test_a_tile_that_the_user_names_is_taken_and_whole_frames_too(model):
    named, off = plan_for(model, tile=96), plan_for(model, tile="off")
    assert named.memory_plan.tiles == (3, 5) and named.memory_plan.tile_overlap == 32
    assert plan_for(model, tile=96, tile_overlap=16).memory_plan.tiles == (3, 4)
    assert plan_for(model, tile=40).memory_plan.tile_overlap == 19
    assert off.memory_plan.whole_frames
    assert plan_for(model).memory_plan == off.memory_plan
    with pytest.raises(OptionError, match="needs tiles of at least 32 px, not --tile 24"):
        plan_for(model, tile=24)


def test_without_tiles_a_job_is_refused_that_fits_with_them(model):
    def fits(budget):
        try:
            return plan_for(model, memory=budget * MB, tile="off").memory_plan.tiles == (1, 1)
        except ResourceError:
            return False

    least = bisect.bisect_left(range(4000), True, key=fits)
    assert plan_for(model, memory=least * MB, tile="off").memory_plan.decoding_strips  # these change nothing
    with pytest.raises(ResourceError, match="or leave out --tile"):
        plan_for(model, memory=(least - 1) * MB, tile="off")
    assert plan_for(model, memory=(least - 1) * MB).memory_plan.tiles != (1, 1)


def test_a_large_frame_is_planned_in_tiles_on_a_cpu_by_the_memory_that_is_named(model):
    sizes = Sizes(540, 960, 4, 2160, 3840)
    wanted = PlanInput(sizes, UpscaleOptions(memory=9 * 2**29), 12)
    found = model.plan(wanted, JobSettings(num_steps=2))
    assert found.memory <= 9 * 2**29 and not found.memory_plan.whole_frames
    assert model.pipeline().memory.footprint.plan_from(found.memory_plan.as_dict()) == found.memory_plan


def test_running_out_of_memory_goes_on_in_strips(model):
    """The rest of the clip is decoded by another plan, to the same pictures but for rounding."""
    pipeline, lq = model.pipeline(), clip(2, 48, 40)
    expected = enlarged(model, StableVSRPlan(), lq)
    pipeline.memory.apply_plan(StableVSRPlan())
    decoder, asked = pipeline.loaded.decoder, []
    original = decoder.forward

    def small_memory(latent, strips=False):
        asked.append(strips)
        if not strips and len(asked) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(latent, strips=strips)

    decoder.forward = small_memory
    try:
        made = torch.stack(list(pipeline.upscale_frames(lq, slice(None), num_steps=1)))
    finally:
        decoder.forward = original
    torch.testing.assert_close(made, expected, atol=2e-4, rtol=0)
    assert asked[:3] == [False, False, False] and asked[-1]
    assert any("decoder in strips of rows" in note for note in pipeline.notes)


def test_the_small_decoder_is_never_cut(published, tmp_path):
    torch.manual_seed(0)
    config = GuidanceDecoderConfig(8, 1, 8, 0, 4)
    write_decoder(tmp_path / "small", Described(config, 0.08333), GuidanceDecoder(config).state_dict())
    model, seen = load(published, guidance_decoder=tmp_path / "small"), []
    hook = model._loaded.guide.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[-2:])))
    enlarged(model, CUT, clip(2, 48, 64))
    hook.remove()
    assert seen == [(48, 64)]


def test_plans_of_the_command_line_are_listed_whole_first():
    limits = PlanLimits(tile_overlap=32)
    plans = list_plans(180, 320, limits, ("resident", "stream"), strips=True, chunks=True)
    number = sum(plan.whole_frames for plan in plans)
    assert number == 12 and all(plan.whole_frames for plan in plans[:number]) and len(set(plans)) == len(plans)
    assert {(plan.chunked_flow, plan.decoding_strips) for plan in plans} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert all(plan.frames_at_once == 1 for plan in plans if plan.tiles != (1, 1))
    assert list_plans(180, 320, PlanLimits(tiles=(1, 1)), ("resident",), strips=False, chunks=False) == tuple(
        StableVSRPlan(tile_overlap=16, frames_at_once=count) for count in (4, 2, 1)
    )


def test_one_frame_and_tiles(model):
    assert run(model, clip(1, 33, 65), steps=1).shape == (1, 3, 132, 260)
    assert enlarged(model, CUT, clip(1, 33, 65)).shape == (1, 3, 132, 260)
