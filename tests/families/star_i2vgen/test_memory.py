"""STAR under a memory plan: what follows an out-of-memory error, raised on purpose, and what the notes say."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from starvsr.errors import ResourceError
from starvsr.families.star_i2vgen.footprint import plan as plan_module
from starvsr.families.star_i2vgen.footprint.plan import StarPlan, star_plans
from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.offload import manager as manager_module
from starvsr.offload.footprint import MB, ClipSize, PlanLimits, predict
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.oom import is_out_of_memory
from starvsr.offload.search import choose, next_smaller, smallest
from tests.support.tiny_star import clip, tiny


@pytest.fixture(autouse=True)
def _short_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiles as short as the clips here."""
    monkeypatch.setattr(plan_module, "SHORTEST_TILE", 8)
    star_plans.cache_clear()
    yield
    star_plans.cache_clear()


class Failing:
    """Stands before a function and runs out of memory at chosen calls."""

    def __init__(self, function: Any, at: set[int], error: Exception | None = None) -> None:
        self.function, self.at, self.calls = function, at, 0
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls in self.at:
            raise self.error
        return self.function(*args, **named)


def _as_if_on_a_device(star: StarI2VGenPipeline) -> None:
    """Let a CPU be planned for as a CUDA device is: weights may be offloaded and streamed."""
    star.memory.footprint = dataclasses.replace(star.memory.footprint, device="cuda")


def test_sampling_begins_again_with_less(caplog: pytest.LogCaptureFixture) -> None:
    star = tiny()
    _as_if_on_a_device(star)
    star.memory.apply_plan(StarPlan())
    plain = star.upscale_clip(clip(1, 8, 8), seed=1, num_steps=2)
    plans: list[StarPlan] = []
    star.memory.on_smaller_plan = plans.append
    failing = Failing(star.network.forward, {3})
    star.network.forward = failing  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        again = star.upscale_clip(clip(1, 8, 8), seed=1, num_steps=2)
    assert [star.memory.plan] == plans and plans[0].place == "stream" and plans[0].tiles == (1, 1)
    assert torch.equal(again, plain)  # the place changes no result
    assert failing.calls == 3 + 4
    assert "out of memory (CUDA out of memory" in caplog.text and "streamed from the host" in caplog.text
    assert star.notes == star.memory.notes and len(star.notes) == 1


def test_it_steps_down_as_often_as_it_must() -> None:
    star = tiny()
    _as_if_on_a_device(star)
    star.memory.apply_plan(StarPlan(tile_overlap=4))
    plans: list[StarPlan] = []
    star.memory.on_smaller_plan = plans.append
    star.network.forward = Failing(star.network.forward, {1, 2, 3})  # type: ignore[method-assign]
    hq = star.upscale_clip(clip(2, 40, 48), num_steps=1)
    assert hq.isfinite().all()
    assert len(plans) == 3 and len(set(plans)) == 3
    needs = [_peak(star, plan, "sample") for plan in [StarPlan(tile_overlap=4), *plans]]
    assert needs == sorted(needs, reverse=True) and needs[-1] < 0.7 * needs[0]


def _peak(star: StarI2VGenPipeline, plan: StarPlan, phase: str) -> int:
    return predict(star.memory.footprint, ClipSize(2, 42, 48), plan).of(phase)  # 40 x 48 as latents


def test_decoding_goes_on_behind_the_frames_that_are_out() -> None:
    star = tiny()
    star.codec.group, star.codec.overlap = 2, 1
    plain = star.upscale_clip(clip(4, 24, 24), num_steps=1)
    star.codec.vae.decode = Failing(star.codec.vae.decode, {3})  # type: ignore[method-assign]
    frames = list(star.upscale_frames(clip(4, 24, 24), slice(None), num_steps=1))
    assert len(frames) == 4
    assert star.memory.plan is not None and star.memory.plan.coding_tiles != (1, 1)
    assert torch.equal(torch.stack(frames[:2], 1), plain[0, :, :2])  # out before memory ran out
    assert (torch.stack(frames[2:], 1) - plain[0, :, 2:]).abs().mean() < 0.1


def test_encoding_too() -> None:
    star = tiny()
    star.codec.vae.moments = Failing(star.codec.vae.moments, {1})  # type: ignore[method-assign]
    assert star.upscale_clip(clip(1, 48, 48), num_steps=1).isfinite().all()
    assert star.memory.plan is not None and star.memory.plan.coding_tiles != (1, 1)


def test_without_a_smaller_plan_it_says_so() -> None:
    star = tiny()
    star.network.forward = Failing(star.network.forward, set(range(1, 100)))  # type: ignore[method-assign]
    with pytest.raises(ResourceError, match=r"no smaller plan than .*: give a smaller --segment"):
        star.upscale_clip(clip(1, 8, 8), num_steps=1)


def test_other_errors_pass() -> None:
    star = tiny()
    star.network.forward = Failing(star.network.forward, {1}, RuntimeError("shapes differ"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes differ"):
        star.upscale_clip(clip(1, 8, 8), num_steps=1)
    assert star.notes == []


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_running_out_shows(error: Exception, wanted: bool) -> None:
    assert is_out_of_memory(error) is wanted


@pytest.mark.parametrize("free_share", [1.3, 0.6, 0.45])
def test_without_a_plan_the_free_memory_decides(monkeypatch: pytest.MonkeyPatch, free_share: float) -> None:
    star = tiny()
    _as_if_on_a_device(star)
    seen = ClipSize(2, 362, 480)
    plans = star.memory.footprint.candidates(seen, PlanLimits())
    whole = min(plans, key=lambda r: (r.place != "resident", r.tiles, r.coding_tiles, -r.at_once))
    most = predict(star.memory.footprint, seen, whole)
    counted = most.peak - most.margin
    free = int((1.06 * free_share * counted + 800 * MB) / 0.95)  # the margin alone is larger than this model
    monkeypatch.setattr(manager_module, "free_bytes", lambda device: free)
    plan = star.memory.plan_for(seen)
    predicted = predict(star.memory.footprint, seen, plan)
    assert predicted.peak <= 0.95 * free
    assert (plan.coding_tiles == plan.tiles == (1, 1)) == (free_share > 1)


def test_the_ladder_ends_at_the_smallest_plan() -> None:
    star = tiny()
    _as_if_on_a_device(star)
    seen = ClipSize(8, 122, 216)
    plans = star.memory.footprint.candidates(seen, PlanLimits())
    plan, steps = StarPlan(at_once=max(r.at_once for r in plans)), 0
    while (smaller := next_smaller(star.memory.footprint, seen, plan, plans, "sample")) is not None:
        before, after = (predict(star.memory.footprint, seen, r).of("sample") for r in (plan, smaller))
        assert after <= 0.85 * before
        plan, steps = smaller, steps + 1
    assert steps >= 4
    least = min(predict(star.memory.footprint, seen, r).of("sample") for r in plans)
    assert predict(star.memory.footprint, seen, plan).of("sample") < least / 0.85


def test_more_memory_never_costs_more_work() -> None:
    star = tiny()
    _as_if_on_a_device(star)
    clips = [(length, ClipSize(length + 8, 122, 216)) for length in (24, 12, 4)]
    plans = star.memory.footprint.candidates(clips[0][1], PlanLimits())
    least = smallest(star.memory.footprint, clips, plans).prediction.peak
    chosen = [choose(star.memory.footprint, clips, plans, least + extra * MB) for extra in (0, 20, 60, 200, 2000)]
    works = [each.work for each in chosen if each]
    assert len(works) == 5 and works == sorted(works, reverse=True) and works[0] > works[-1]
    assert choose(star.memory.footprint, clips, plans, least - 1) is None
    assert chosen[-1] is not None and chosen[-1].plan.place == "resident" and chosen[-1].length == 24


def test_plans_survive_the_manifest() -> None:
    for place in PLACES:
        plan = StarPlan(place, (2, 3), 8, (1, 2), 1000, 64)
        assert StarPlan.from_dict(plan.as_dict()) == plan
