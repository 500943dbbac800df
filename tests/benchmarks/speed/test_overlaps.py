"""What is carried is counted once, tiles count what they overlap by, and a segment alone pays for its context."""

from __future__ import annotations

import pytest

from benchmarks.speed.overlaps import CountingNetwork, main, seen
from starvsr.engine.chunk_plan import PlanInput, Sizes
from starvsr.families.causal_sr.pipeline import CausalPipeline
from starvsr.families.causal_sr.spec import CAUSAL_SR
from starvsr.families.job_settings import plain_settings
from starvsr.models.causal_sr import CausalSRConfig
from starvsr.options import JobOptions


def test_areas_are_counted() -> None:
    pipeline = CausalPipeline(CAUSAL_SR, CountingNetwork(CausalSRConfig(width=8, num_blocks=4, memory=4)))
    sizes, settings = Sizes(40, 60, 4, 160, 240), plain_settings(pipeline)
    plan = pipeline.plan(PlanInput(sizes, JobOptions(segment=8, tile=40, tile_overlap=10)), settings)
    tiles = plan.grid.work_px / (40 * 60)
    assert plan.grid.num_tiles == 2 and tiles > 1
    assert seen(pipeline, plan, 24, carried=True) == pytest.approx(tiles)
    assert seen(pipeline, plan, 24, carried=False) == pytest.approx(tiles * (24 + 2 * 4) / 24)


def test_a_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sizes", "64x48", "--frames", "20"])
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| 64x48 | segments of 8 frames with 6 of context before them, carried on; whole frames |")
    assert row.endswith("| 1.000 | 1.600 |")
