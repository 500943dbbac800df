"""Plans of jobs with STAR: budgets are kept, options honoured, manifests followed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import starvsr
from benchmarks.memory.star_memory import published_sizes
from starvsr.api import prepare
from starvsr.apps.cli.dry_run import plan_rows
from starvsr.engine.chunk_plan import ChunkPlan, Sizes
from starvsr.engine.traits import Traits
from starvsr.errors import ResourceError
from starvsr.families.options import UpscaleOptions
from starvsr.families.star_i2vgen.footprint import plan as plan_module
from starvsr.families.star_i2vgen.footprint.plan import StarPlan, star_plans
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.manifest_file import read_cut
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.planning import GB, PlanRequest, plan_job
from tests.families.star_i2vgen.test_memory import Failing
from tests.support.tiny_star import TinyStar

TRAITS = Traits(overlap=4, tile_overlap=32, segment=24, color="adain")
TOY = Sizes(240, 426, 4, 960, 1704)


def _plan(free: int | None = None, before: dict[str, object] | None = None, **options: object) -> ChunkPlan:
    request = PlanRequest(TOY, TRAITS, UpscaleOptions(**options), 122, 216, 2.0, None)  # type: ignore[arg-type]
    model = dataclasses.replace(published_sizes(), device="cpu" if free is None else "cuda")
    return plan_job(model, request, PLACES, free, before)


@pytest.mark.parametrize(
    ("budget", "place"), [("24GB", "resident"), ("12GB", "resident"), ("8GB", "stream"), ("6GB", "stream")]
)
def test_a_budget_is_kept_whatever_is_free(budget: str, place: str) -> None:
    cut = _plan(free=80 * GB, memory=budget)
    assert cut.memory <= cut.budget == int(budget[:-2]) * GB
    assert (
        cut.memory_plan is not None
        and cut.memory_plan.place == place
        and cut.memory_plan.tiles == (1, 1)
        and cut.length == 24
    )


def test_the_free_memory_decides_without_a_budget() -> None:
    assert _plan(free=40 * GB).memory_plan == _plan(free=80 * GB).memory_plan
    small = _plan(free=4 * GB)
    assert small.memory <= 4 * GB and small.memory_plan is not None and small.memory_plan.tiles != (1, 1)


def test_on_a_cpu_the_plan_does_not_ask_what_is_free() -> None:
    cut = _plan()
    assert cut.memory_plan is not None and cut.memory_plan.place == "resident" and cut.memory_plan.tiles == (1, 1)
    assert cut.prediction is not None and cut.memory > cut.prediction.peak  # frames that are read and written


def test_too_small_a_budget_is_refused_with_the_least_that_does() -> None:
    with pytest.raises(ResourceError, match=r"need [\d.]+ GB on the device at least and --memory is 1.0 GB: raise it$"):
        _plan(free=80 * GB, memory="1GB")
    with pytest.raises(ResourceError, match="leave out --segment and --tile"):
        _plan(free=80 * GB, memory="3GB", segment=64, tile=256)


def test_what_the_user_fixes_is_kept() -> None:
    cut = _plan(free=80 * GB, segment=12, overlap=2, tile=128, tile_overlap=16)
    assert cut.memory_plan is not None and cut.memory_plan.tiles == (3, 4) and cut.memory_plan.tile_overlap == 8
    assert (cut.length, cut.overlap) == (12, 2)
    whole = _plan(free=6 * GB, tile="off").memory_plan
    assert whole is not None and whole.tiles == (1, 1)


def test_the_manifest_of_a_job_decides_unless_the_user_names_a_budget() -> None:
    first = _plan(free=6 * GB)
    assert first.memory_plan is not None
    manifest = json.loads(json.dumps({"length": first.length, "memory_plan": first.memory_plan.as_dict()}))
    assert _plan(free=80 * GB, before=manifest).memory_plan == first.memory_plan
    assert _plan(free=80 * GB, before=manifest, memory="40GB").memory_plan != first.memory_plan
    for damaged in ({}, {"length": 24}, {"length": 24, "memory_plan": {"colour": 1}}):
        assert _plan(free=80 * GB, before=damaged).memory_plan == _plan(free=80 * GB).memory_plan


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(20):
        noise = np.random.default_rng(index).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:03}.png")
    return folder


@pytest.fixture
def _short_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plan_module, "SHORTEST_TILE", 8)
    star_plans.cache_clear()
    yield
    star_plans.cache_clear()


@pytest.mark.usefixtures("_short_tiles")
def test_a_job_that_ran_out_of_memory_is_resumed_with_its_last_plan(frames: Path, tmp_path: Path) -> None:
    settings = {
        "segment": 8,
        "overlap": 1,
        "tile_overlap": 4,
        "steps": 1,
        "device": "cpu",
        "frame_rate": 1,
        "scene_cuts": False,
    }
    out = tmp_path / "out.mkv"
    star = TinyStar()
    star.network.forward = Failing(star.network.forward, {3})  # type: ignore[method-assign]
    # memory runs out in the second segment: two calls each
    star.prepared = lambda made: setattr(made, "encode", Failing(made.encode, {3}, RuntimeError("the power goes")))
    with pytest.raises(RuntimeError, match="the power goes"):
        starvsr.upscale(frames, out, upscaler=star, **settings)
    cut, plan = read_cut(JobFolder(job_path(out))), star.made[-1].memory.plan
    assert cut is not None and plan is not None
    assert cut["memory_plan"] == plan.as_dict() and StarPlan.from_dict(cut["memory_plan"]).tiles != (1, 1)
    again = TinyStar()
    result = starvsr.upscale(frames, out, upscaler=again, **settings)
    assert result.num_frames == 20 and result.num_kept >= 8 and not result.notes
    assert again.made[-1].memory.plan == plan
    assert not job_path(out).exists()


def test_the_dry_run_tells_the_prediction_by_component(frames: Path, tmp_path: Path) -> None:
    job = prepare(frames, tmp_path / "out.mkv", UpscaleOptions(steps=1, device="cpu"), upscaler=TinyStar())
    rows = dict(plan_rows(job))
    assert all(word in rows["memory"] for word in ("predicted", "weights", "clip", "margin"))
    assert "all weights on the device" in rows["cut"]
    shutil.rmtree(frames)
    assert torch.get_num_threads() == 1
