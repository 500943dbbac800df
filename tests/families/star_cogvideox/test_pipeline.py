"""Windows, tiles, segments and settings of a job, with networks that leave pictures as they are."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from starvsr.engine.segments import Segment, plan_segments
from starvsr.engine.upscaler import JobSettings
from starvsr.errors import OptionError
from starvsr.families.star_cogvideox.footprint import DECODE, ENCODE, SAMPLE
from starvsr.families.star_cogvideox.pipeline import Sampling
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.families.star_cogvideox.schedule import CogVideoXSchedule
from starvsr.families.star_cogvideox.tiles import axis_of_tiles, trained_tiles
from starvsr.families.star_cogvideox.upscaler import CROSSFADE, OVERLAP, OVERLAP_AFTER, Parts, StarCogVideoXUpscaler
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.offload.footprint import ClipSize, PlanLimits
from starvsr.offload.trace import FusedAttention, LiveBytes
from tests.support.tiny_cogvideox import tiny_cogvideox


class Restoring(nn.Module):
    """A transformer that predicts the low-quality latents as clean ones, and an offset that each call draws anew."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.config = TransformerConfig(num_layers=1)
        self.transformer_blocks = nn.ModuleList([nn.Identity()])
        self.weight = nn.Parameter(torch.zeros(1))
        self.offset, self.sizes = offset, []
        self.known = {step.timestep: step.known for step in CogVideoXSchedule().steps(3)}

    def forward(self, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        noisy, lq = latents.chunk(2, 2)
        self.sizes.append(tuple(latents.shape[-4:]))
        number = len(self.sizes) % 7
        alpha = self.known[int(timestep)]
        clean = lq + self.offset * (number - 3) / 3
        return (alpha * noisy - clean) / (1 - alpha**2) ** 0.5


class Blocks:
    """Stands for the VAE: means of 8 x 8 pixels and 4 frames, the first frame alone; and back by repeating."""

    channels, tiles, factor, piece = 16, (1, 1), 1.0, 25
    dtype = torch.float32

    def __init__(self, vae: nn.Module) -> None:
        self.vae = vae

    def encode(self, pixels: Tensor, noise: Tensor | None) -> Tensor:
        small = nn.functional.avg_pool3d(pixels, (1, 8, 8))
        rest = nn.functional.avg_pool3d(small[:, :, 1:], (4, 1, 1)) if small.shape[2] > 1 else small[:, :, 1:]
        return torch.cat([small[:, :, :1], rest], 2).repeat(1, 6, 1, 1, 1)[:, :16]

    def decode(self, latents: Tensor, keep: slice):
        frames = [latents[:, :3, :1], latents[:, :3, 1:].repeat_interleave(4, 2)]
        large = torch.cat(frames, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)
        yield from large[0, :, keep].unbind(1)


def restoring(offset: float = 0.0) -> StarCogVideoXUpscaler:
    vae = nn.Linear(1, 1)
    vae.config = type("Config", (dict,), {"scaling_factor": 1.0, "latent_channels": 16})()
    return StarCogVideoXUpscaler("star-cogvideox-5b", Parts(Restoring(offset), vae, lambda text: torch.zeros(1, 2, 3)))


def run(
    model: StarCogVideoXUpscaler, lq: Tensor, plan: CogVideoXPlan | None = None, first_frame: int = 0, **values
) -> Tensor:
    pipeline = model.pipeline(values, scale=1)
    pipeline.codec = Blocks(pipeline.codec.vae)
    pipeline.memory.apply_plan(plan or CogVideoXPlan())
    return torch.stack(list(pipeline.upscale_frames(lq, slice(None), num_steps=3, seed=3, first_frame=first_frame)), 1)


def smooth_clip(num_frames: int, height: int, width: int) -> Tensor:
    time, row, column = (torch.linspace(-0.5, 0.5, n) for n in (num_frames, height, width))
    clip = time[:, None, None] * 0.4 + row[:, None] * 0.7 + column * 0.6
    return clip.expand(1, 3, -1, -1, -1).contiguous()


def test_windows_and_tiles_do_not_show():
    """Neighbours differ by an offset that each call draws; blended, steps at borders are those of the interior."""
    model, clip = restoring(), smooth_clip(69, 160, 256)
    whole = run(model, clip, window=69)
    network = model._parts.transformer
    assert set(network.sizes) == {(18, 32, 20, 32)}
    network.sizes.clear()
    cut = run(model, clip, CogVideoXPlan(tiles=(2, 2), tile_overlap=8))
    assert len(set(network.sizes)) == 1 and network.sizes[0] == (7, 32, 14, 20)
    assert (cut - whole).abs().max() < 1e-4


def test_seams_are_no_larger_than_what_lies_between_them():
    made = run(restoring(offset=0.02), smooth_clip(69, 160, 256), CogVideoXPlan(tiles=(2, 2), tile_overlap=8))
    plain = run(restoring(), smooth_clip(69, 160, 256))
    latents = (made - plain)[0, ::4, ::8, ::8].abs()  # what the offsets add, one value a latent cell
    for axis in range(3):
        steps = (made - plain)[0, ::4, ::8, ::8].diff(dim=axis).abs()
        assert steps.max() < 0.75 * latents.max(), axis  # a hard border steps by up to twice the offset


def test_segments_of_a_shot_agree_on_the_groups_of_four_frames():
    segments = plan_segments(61, 16, OVERLAP, CROSSFADE, (), OVERLAP_AFTER, 4)
    assert len(segments) == 4 and all(segment.start % 4 == 0 and segment.keep_start % 4 == 0 for segment in segments)
    assert sum(segment.keep_stop - segment.keep_start for segment in segments) == 61
    uneven = plan_segments(30, 17, OVERLAP, CROSSFADE, (), OVERLAP_AFTER, 4)
    assert [segment.keep_start for segment in uneven] == [0, 16]


def test_no_frame_of_a_segment_is_its_first_latent_frame_but_at_the_start_of_a_shot():
    clip = smooth_clip(61, 32, 32) + 0.1 * torch.randn(1, 3, 61, 32, 32, generator=torch.Generator().manual_seed(1))
    model = restoring()
    whole = run(model, clip, window=61)
    for segment in plan_segments(61, 16, OVERLAP, CROSSFADE, (), OVERLAP_AFTER, 4):
        seen = clip[:, :, segment.start : segment.stop]
        lacking = -(seen.shape[2] - 1) % 4
        seen = torch.cat([seen, *[seen[:, :, -1:]] * lacking], 2)
        made = run(model, seen, first_frame=segment.start, window=61)
        first = segment.keep_start - segment.fade_before
        stop = segment.keep_stop + segment.fade_after
        part = made[:, first - segment.start : stop - segment.start]
        assert (part - whole[:, first:stop]).abs().max() < 1e-5


def test_tiles_are_as_large_as_in_training():
    assert trained_tiles(60, 90, 8) == trained_tiles(68, 100, 8) == (1, 1)
    assert trained_tiles(136, 240, 8) == (3, 3)
    for cells, count in ((136, 3), (240, 3), (62, 2), (4, 2)):
        windows = axis_of_tiles(cells, count, 8)
        assert windows[0].start == 0 and windows[-1].stop == cells
        assert all(w.start % 2 == 0 and w.length % 2 == 0 for w in windows)
        assert all(a.stop - b.start >= min(8, a.length - 2) for a, b in pairwise(windows))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"window": 24}, "give 21 or 25"),
        ({"window": 25, "exact": True}, "--window has no use with --exact"),
        ({"guidance": 1.0, "guidance_curve": "smooth"}, "--guidance-curve has no use with --guidance 1"),
        ({"guidance": 1.0, "negative_prompt": "fog"}, "--negative-prompt has no use with --guidance 1"),
    ],
)
def test_what_cannot_be_honoured_is_refused(values, words):
    with pytest.raises(OptionError, match=words):
        restoring().pipeline(values)


@pytest.fixture(scope="module")
def tiny() -> StarCogVideoXUpscaler:
    return tiny_cogvideox()


def output(model: StarCogVideoXUpscaler, lq: Tensor, seed: int = 0, num_steps: int = 3, **values) -> Tensor:
    whole = Segment(0, 0, lq.shape[2], 0, lq.shape[2])
    with model.open(JobSettings(1, num_steps, seed, values)) as session:
        return torch.stack(list(session.upscale(lq, slice(None), segment=whole, first_frame=0)))


def test_every_setting_changes_the_result_and_the_same_ones_give_the_same(tiny):
    lq = smooth_clip(5, 15, 16)
    plain = output(tiny, lq)
    assert plain.shape == (5, 3, 15, 16) and torch.equal(plain, output(tiny, lq))
    for values in (
        {"prompt": "a red barn"},
        {"negative_prompt": "fog"},
        {"guidance": 3.0},
        {"guidance_curve": "constant"},
        {"exact": True},
        {"seed": 1},
        {"num_steps": 2},
        {"window": 1},
    ):
        assert not torch.equal(plain, output(tiny, lq, **values)), values


def test_exact_gives_whole_levels_and_tells_what_cannot_be_compared(tiny):
    lq = smooth_clip(5, 16, 16)
    with tiny.open(JobSettings(1, 1, 0, {"exact": True})) as session:
        frames = list(session.upscale(lq, slice(None), segment=Segment(0, 0, 5, 0, 5), first_frame=0))
    levels = (torch.stack(frames) + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-4
    colours = [clip.mean((2, 3)) for clip in (torch.stack(frames), lq[0].transpose(0, 1))]
    assert (colours[0] - colours[1]).abs().max() < 0.02  # those of the input, in place of a ground truth
    assert any("25 frames of 720x480" in note for note in session.notes)
    assert tiny.traits_for({"exact": True}).lengths.whole


def test_the_memory_that_is_counted_is_what_was_predicted(tiny):
    pipeline = tiny.pipeline(scale=1)
    footprint, ratios = pipeline.memory.footprint, {}
    for frames, height, width, tiles in ((5, 32, 48, (1, 1)), (9, 32, 32, (1, 1)), (5, 32, 64, (1, 2))):
        lq, clip = torch.zeros(1, 3, frames, height, width), ClipSize(frames, height // 8, width // 8)
        plan = CogVideoXPlan(tiles=tiles, tile_overlap=2)
        pipeline.memory.apply_plan(plan)
        shape = 1, 16, (frames - 1) // 4 + 1, height // 8, width // 8
        noise, steps = pipeline._noise(shape, 0, 0), CogVideoXSchedule().steps(2)
        hint = torch.zeros(shape)
        work = {
            ENCODE: lambda lq=lq, noise=noise: pipeline.codec.encode(lq, noise("vae")),
            SAMPLE: lambda hint=hint, noise=noise, steps=steps: pipeline.sample(hint, steps, noise),
            DECODE: lambda hint=hint: [None for _ in pipeline.codec.decode(hint)],
        }
        for phase, call in work.items():
            given = [*pipeline.transformer.parameters(), *pipeline.codec.vae.parameters(), *pipeline._texts]
            with torch.no_grad(), FusedAttention(), LiveBytes(given) as live:
                call()
            peak = footprint.peak(phase, clip, plan)
            ratios[phase, frames, height, width] = live.peak / (peak.clip + peak.work)
    assert all(0.5 < ratio <= 1.02 for ratio in ratios.values()), ratios


def test_out_of_memory_continues_with_less(tiny, monkeypatch):
    """A CPU that is planned for as a device is: the first step down moves weights, which changes no result."""
    pipeline, lq = tiny.pipeline({"guidance": 1.0}, scale=1), smooth_clip(1, 16, 16)
    pipeline.memory.footprint = dataclasses.replace(pipeline.memory.footprint, device="cuda")
    pipeline.memory.apply_plan(CogVideoXPlan())
    (plain,) = pipeline.upscale_frames(lq, slice(None), num_steps=1)
    forward, calls = pipeline.transformer.forward, []

    def failing(*given):
        calls.append(given)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*given)

    monkeypatch.setattr(pipeline.transformer, "forward", failing)
    replanned: list[CogVideoXPlan] = []
    pipeline.memory.on_smaller_plan = replanned.append
    (made,) = pipeline.upscale_frames(lq, slice(None), num_steps=1)
    pipeline.memory.end()
    assert torch.equal(made, plain) and len(calls) == 2
    assert len(replanned) == 1 and replanned[0].place != "resident" and replanned[0].tiles == (1, 1)
    assert any("out of memory" in note for note in pipeline.notes)


def test_plans_begin_with_tiles_of_the_trained_size_unless_the_user_names_others(tiny):
    footprint = tiny.pipeline().memory.footprint
    assert footprint.candidates(ClipSize(45, 136, 240), PlanLimits(tile_overlap=8))[0].tiles == (3, 3)
    named = footprint.candidates(ClipSize(45, 136, 240), PlanLimits(tiles=(1, 1)))
    assert {plan.tiles for plan in named} == {(1, 1)}
    plan = dataclasses.replace(named[0], coding_tiles=(2, 3))
    assert footprint.plan_from(json.loads(json.dumps(plan.as_dict()))) == plan


def test_tiles_of_the_vae_are_blended(tiny):
    codec = tiny.pipeline(scale=1).codec
    with torch.inference_mode():
        latents = torch.randn(1, 16, 1, 6, 20, generator=torch.Generator().manual_seed(2))
        whole = torch.stack(list(codec.decode(latents)))
        codec.tiles = 1, 2
        cut = torch.stack(list(codec.decode(latents)))
    assert cut.shape == whole.shape
    steps = cut.diff(dim=3).abs().mean((0, 1, 2))
    assert steps[63:97].max() < 1.5 * np.quantile(steps.numpy(), 0.98)  # no line where the tiles meet


def test_sampling_has_the_published_defaults():
    sampling = Sampling(torch.zeros(1), torch.zeros(1))
    assert (sampling.window, sampling.guidance.largest, sampling.guidance.form) == (25, 7.0, "released")
