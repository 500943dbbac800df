"""Plans of jobs for a family that the core does not know: budgets, options and manifests."""

from __future__ import annotations

import json

import pytest

from starvsr.engine.chunk_plan import ChunkPlan, Sizes
from starvsr.engine.traits import Traits
from starvsr.errors import ResourceError
from starvsr.offload.footprint import ClipSize, predict
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.planning import GB, PlanRequest, plan_job
from starvsr.offload.tile_grids import tiles_of_side
from starvsr.options import JobOptions
from tests.support.footprints import StripedFootprint, StripedPlan

SIZES = Sizes(64, 64, 4, 256, 256)
TRAITS = Traits(overlap=2, tile_overlap=8, segment=8)


def _plan(free: int | None, before: dict[str, object] | None = None, **options: object) -> ChunkPlan:
    footprint = StripedFootprint("cpu" if free is None else "cuda")
    request = PlanRequest(SIZES, TRAITS, JobOptions(**options), 64, 64, 1.0, None)  # type: ignore[arg-type]
    return plan_job(footprint, request, PLACES, free, before)


def test_enough_memory_takes_the_longest_segments_in_one_piece() -> None:
    plan = _plan(8 * GB)
    assert (plan.length, plan.overlap, plan.memory_plan) == (8, 2, StripedPlan(tile_overlap=8))
    assert plan.prediction == predict(StripedFootprint(), ClipSize(12, 64, 64), StripedPlan(tile_overlap=8))


def test_a_budget_is_kept_and_one_too_small_is_refused() -> None:
    plan = _plan(8 * GB, memory="1GB")
    assert plan.memory <= plan.budget == GB and plan.length < 8
    with pytest.raises(ResourceError, match=r"on the device at least and --memory is .*, or leave out --segment$"):
        _plan(8 * GB, memory="850MB", segment=8)


def test_tiles_of_the_user_are_kept() -> None:
    tiled = _plan(8 * GB, tile=24, tile_overlap=4).memory_plan
    assert isinstance(tiled, StripedPlan) and (tiled.tiles, tiled.tile_overlap) == ((3, 3), 4)


def test_tiles_smaller_than_their_overlap_leave_short_frames_whole() -> None:
    for side in (1, 8, 16, 17, 40):
        for overlap in (1, 16, 40):
            for height in (1, 8, 12, 16, 17, 90):
                rows, columns = tiles_of_side(side, overlap, height, 12)
                assert rows >= 1 and columns == (1 if max(side, overlap) >= 12 else columns)
                assert rows == 1 or max(side, overlap) < height
    assert tiles_of_side(8, 16, 12, 16) == (1, 1)
    assert tiles_of_side(20, 4, 90, 52) == (6, 3)


@pytest.mark.parametrize("size", [(32, 24), (64, 16), (17, 33)])
@pytest.mark.parametrize("tile", [16, 33])
def test_small_frames_take_small_tiles(size: tuple[int, int], tile: int) -> None:
    from starvsr.engine.chunk_plan import PlanInput
    from starvsr.families.job_settings import plain_settings
    from tests.support.tiny_star import TinyStar

    width, height = size
    model = TinyStar()
    sizes = Sizes(height, width, 4, 4 * height, 4 * width)
    job = plain_settings(model, num_steps=2, feature_cache=2)
    plan = model.plan(PlanInput(sizes, JobOptions(tile=tile, color="wavelet"), 2), job)
    assert plan.memory_plan is not None and plan.memory > 0


def test_a_manifest_is_followed_unless_it_cannot_be_read() -> None:
    first = _plan(1 * GB)
    assert first.memory_plan is not None
    assert (first.length, first.memory_plan) != (8, _plan(8 * GB).memory_plan)
    manifest = json.loads(json.dumps({"length": first.length, "memory_plan": first.memory_plan.as_dict()}))
    again = _plan(8 * GB, before=manifest)
    assert (again.length, again.memory_plan) == (first.length, first.memory_plan)
    assert _plan(8 * GB, before={"length": 8, "memory_plan": {"colour": 1}}).memory_plan == _plan(8 * GB).memory_plan


def test_on_a_cpu_frames_in_memory_count_too() -> None:
    plan = _plan(None)
    assert plan.memory_plan == StripedPlan(tile_overlap=8)
    assert plan.prediction is not None and plan.memory > plan.prediction.peak
