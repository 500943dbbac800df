"""The search for a plan, with a made-up footprint of a family that the core does not know."""

from __future__ import annotations

import pytest

from starvsr.offload.footprint import MARGIN_BYTES, ClipSize, PlanLimits, predict, resident_bytes
from starvsr.offload.memory_plan import MemoryPlan
from starvsr.offload.search import candidates, choose, next_smaller, smallest
from starvsr.offload.tile_grids import grids, tiles_of_side
from tests.support.footprints import MB, StripedFootprint, StripedPlan

FOOTPRINT = StripedFootprint()
CLIP = ClipSize(8, 64, 64)  # 32 MB, and 256 MB of work


def test_a_prediction_is_the_sum_of_its_components() -> None:
    found = predict(FOOTPRINT, CLIP, StripedPlan("stream", stripes=2))
    assert (found.weights["draw"], found.clip["draw"], found.work["draw"]) == (30 * MB, 32 * MB, 128 * MB)
    assert found.fullest == "look" and found.of("look") == (10 + 32 + 256) * MB
    assert found.margin == MARGIN_BYTES["cuda"] + int(0.05 * 288 * MB)
    assert found.peak == found.of("look") + found.margin
    assert "looking 256 MB" in found.describe() and "draw" in found.describe()
    assert resident_bytes(FOOTPRINT) == 110 * MB


def test_the_least_work_that_fits_is_chosen() -> None:
    plans = FOOTPRINT.candidates(CLIP, PlanLimits())
    clips = [(8, CLIP)]
    full = predict(FOOTPRINT, CLIP, StripedPlan()).peak
    roomy = choose(FOOTPRINT, clips, plans, full)
    assert roomy is not None and roomy.plan == StripedPlan() and roomy.work == 1
    tight = choose(FOOTPRINT, clips, plans, full - 1)
    assert tight is not None and tight.prediction.peak < full and tight.work > 1
    assert tight.work == min(each.work for each in candidates(FOOTPRINT, clips, plans) if each.prediction.peak < full)
    least = smallest(FOOTPRINT, clips, plans).prediction.peak
    assert choose(FOOTPRINT, clips, plans, least - 1) is None


def test_shorter_segments_cost_their_context() -> None:
    plans = FOOTPRINT.candidates(CLIP, PlanLimits())
    clips = [(6, CLIP), (2, ClipSize(4, 64, 64))]
    works = {each.length: each.work for each in candidates(FOOTPRINT, clips, plans[:1])}
    assert works == {6: pytest.approx(8 / 6), 2: pytest.approx(2)}


def test_the_next_smaller_plan_needs_clearly_less_in_the_phase_that_failed() -> None:
    plans = FOOTPRINT.candidates(CLIP, PlanLimits())
    plan: StripedPlan | None = StripedPlan()
    before = predict(FOOTPRINT, CLIP, StripedPlan()).of("draw")
    steps = 0
    while plan is not None and (plan := next_smaller(FOOTPRINT, CLIP, plan, plans, "draw")) is not None:
        after = predict(FOOTPRINT, CLIP, plan).of("draw")
        assert after <= 0.85 * before
        before, steps = after, steps + 1
    assert steps >= 2
    assert next_smaller(FOOTPRINT, CLIP, StripedPlan("stream"), plans, "look") is None  # nothing shrinks looking


def test_plans_describe_themselves_and_survive_the_manifest() -> None:
    plan = StripedPlan("offload", (2, 3), 4, 2)
    assert plan.as_dict() == {"place": "offload", "tiles": [2, 3], "tile_overlap": 4, "stripes": 2}
    assert StripedPlan.from_dict(plan.as_dict()) == plan
    assert plan.describe() == "weights on the device while they are used; 3 x 2 tiles for the network"
    with pytest.raises(TypeError):
        MemoryPlan.from_dict({"stripes": 2})


def test_grids_are_square_and_no_tile_is_too_short() -> None:
    found = grids(100, 200, 40)
    assert found[0] == (1, 1) and len({rows * columns for rows, columns in found}) == len(found)
    assert all(100 // rows >= 40 and 200 // columns >= 40 for rows, columns in found)
    assert (1, 2) in found and (2, 1) not in found  # the shorter border
    assert tiles_of_side(50, 10, 100, 40) == (3, 1)
