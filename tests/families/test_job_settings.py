"""What a job asks of a model that is loaded already: honoured or refused, told truly, forgotten by the next job."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import starvsr
from starvsr.errors import Cancelled, JobError, OptionError
from starvsr.families.bicubic import BicubicUpscaler
from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.families.star_small.pipeline import StarSmallUpscaler
from starvsr.jobs.folder import job_path
from starvsr.jobs.provenance import provenance_of
from tests.support.doubles import NearestUpscaler
from tests.support.star_small_ends import write_both_ends, write_end
from tests.support.tiny_star import TinyStar

SMALL = {"steps": 1, "device": "cpu", "frame_rate": 1, "overwrite": True}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 255, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:03}.png")
    return folder


@pytest.fixture(scope="module")
def small() -> StarSmallUpscaler:
    return StarSmallUpscaler.load("star-small", precision="fp32")


def test_another_model_than_the_loaded_one_is_refused(frames: Path, tmp_path: Path, small: StarSmallUpscaler) -> None:
    out = tmp_path / "o.mkv"
    with pytest.raises(OptionError, match=r"--model bicubic was asked for and star-small is loaded"):
        starvsr.upscale(frames, out, upscaler=small, model="bicubic")
    with pytest.raises(OptionError, match=r"--model star-small was asked for and bicubic is loaded"):
        starvsr.upscale(frames, out, upscaler=BicubicUpscaler(), model="star-small")  # named, though the default
    with pytest.raises(OptionError, match=r"--model star-small was asked for and bicubic is loaded"):
        starvsr.upscale(frames, tmp_path / "out", upscaler=BicubicUpscaler(), model="star-small", images="photos")
    with pytest.raises(OptionError, match="bicubic is loaded"):
        starvsr.prepare(frames, out, starvsr.UpscaleOptions(model="star-light"), upscaler=BicubicUpscaler())
    job = starvsr.prepare(frames, out, upscaler=BicubicUpscaler(), model="bicubic")
    assert job.options.model == "bicubic" and not list(tmp_path.glob("o*"))


@pytest.fixture(scope="module")
def one_end(tmp_path_factory: pytest.TempPathFactory) -> StarSmallUpscaler:
    """star-small with weights that hold one end of a training."""
    path = tmp_path_factory.mktemp("weights") / "one_end.safetensors"
    return StarSmallUpscaler.load("star-small", weights=write_end(path, "vivid"), precision="fp32")


@pytest.fixture(scope="module")
def both_ends(tmp_path_factory: pytest.TempPathFactory) -> StarSmallUpscaler:
    path = tmp_path_factory.mktemp("weights") / "both_ends.safetensors"
    return StarSmallUpscaler.load("star-small", weights=write_both_ends(path), precision="fp32")


def made(frames: Path, out: Path, **values: Any) -> np.ndarray:
    starvsr.upscale(frames, out, **{**SMALL, **values})
    return np.stack([np.asarray(Image.open(path)).astype(int) for path in sorted(out.glob("*.png"))])


def test_every_model_takes_detail(frames: Path, tmp_path: Path, one_end: StarSmallUpscaler) -> None:
    """0 is the bicubic enlargement, 1 the model's result."""
    plain, full = (made(frames, tmp_path / f"{n}", upscaler=one_end, detail=n) for n in (None, 1))
    assert np.array_equal(plain, full)
    bicubic = made(frames, tmp_path / "bicubic", upscaler=BicubicUpscaler())
    none = made(frames, tmp_path / "none", upscaler=one_end, detail=0)
    half = made(frames, tmp_path / "half", upscaler=one_end, detail="0.5")
    assert np.abs(none - bicubic).max() <= 1 and np.abs(plain - bicubic).max() > 5
    assert np.abs(half - (plain + bicubic) / 2).max() <= 1.5


def test_weights_with_two_ends_do_detail_themselves(frames: Path, tmp_path: Path, both_ends: StarSmallUpscaler) -> None:
    """0 is the faithful end, 1 the vivid one; one loaded model does jobs with each, in any order."""

    def alone(end: str) -> StarSmallUpscaler:
        return StarSmallUpscaler.load("star-small", weights=write_end(tmp_path / end, end), precision="fp32")

    vivid = made(frames, tmp_path / "vivid_alone", upscaler=alone("vivid"))
    faithful = made(frames, tmp_path / "faithful_alone", upscaler=alone("faithful"))
    assert np.abs(vivid - faithful).max() > 3
    for number, (detail, wanted) in enumerate([(0, faithful), (None, vivid), (0, faithful), (1, vivid)]):
        assert np.array_equal(made(frames, tmp_path / f"{number}", upscaler=both_ends, detail=detail), wanted)
    between = made(frames, tmp_path / "between", upscaler=both_ends, detail=0.5)
    assert not np.array_equal(between, vivid) and not np.array_equal(between, faithful)
    assert np.abs(between - (vivid + faithful) / 2).mean() < 0.3 * np.abs(vivid - faithful).mean()


@pytest.mark.parametrize("name", ["one_end", "both_ends"])
def test_a_resumed_job_keeps_its_detail(
    frames: Path, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    job = starvsr.prepare(frames, tmp_path / "o.mkv", upscaler=model, detail=0.5, **SMALL)
    assert provenance_of(job)["options"]["detail"] == 0.5 and " --detail 0.5" in " ".join(job.options.as_flags())
    cancel = starvsr.CancelToken()
    long = tmp_path / "long"
    long.mkdir()
    for index in range(24):
        (long / f"{index:03}.png").write_bytes((frames / "000.png").read_bytes())
    values = {**SMALL, "detail": 0.5, "upscaler": model, "segment": 8}

    def stop(progress: starvsr.Progress) -> None:
        if progress.num_done >= 18:
            cancel.cancel()

    out = tmp_path / "long.mkv"
    with pytest.raises(Cancelled):
        starvsr.upscale(long, out, on_progress=stop, cancel=cancel, **values)
    with pytest.raises(JobError, match=r"--detail: 0\.5 before, none now"):
        starvsr.upscale(long, out, **{**values, "detail": None})
    assert starvsr.upscale(long, out, **values).num_kept > 0
    starvsr.upscale(long, tmp_path / "undisturbed.mkv", **values)
    assert out.read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()


def test_other_weights_precision_or_device_than_loaded_are_refused(
    frames: Path, tmp_path: Path, small: StarSmallUpscaler
) -> None:
    out = tmp_path / "o.mkv"
    with pytest.raises(OptionError, match=r"--weights /nonexistent was asked for and star-small is loaded already"):
        starvsr.upscale(frames, out, upscaler=small, weights="/nonexistent")
    with pytest.raises(OptionError, match=r"--precision bf16 was .* with --precision fp32"):
        starvsr.upscale(frames, out, upscaler=small, precision="bf16")
    with pytest.raises(OptionError, match="--precision"):
        starvsr.upscale(frames, out, upscaler=TinyStar(), precision="bf16")
    with pytest.raises(OptionError, match=r"--device meta was asked for and star-small is loaded on cpu"):
        starvsr.upscale(frames, out, upscaler=small, device="meta")
    same = starvsr.prepare(frames, out, upscaler=small, precision="fp32")
    silent = starvsr.prepare(frames, out, upscaler=small)
    assert same.options == silent.options and same.options.precision == "fp32"


def test_the_record_tells_what_the_model_was_loaded_with(
    frames: Path, tmp_path: Path, small: StarSmallUpscaler
) -> None:
    result = starvsr.upscale(frames, tmp_path / "o.mkv", upscaler=small)
    assert result.provenance["options"] == {"precision": "fp32"}


def test_prompt_and_guidance_are_honoured_job_by_job(frames: Path, tmp_path: Path) -> None:
    star = TinyStar(guidance=3.0)
    asked = {"prompt": "a red barn", "guidance": 1.0}
    plain = starvsr.upscale(frames, tmp_path / "a.mkv", upscaler=star, **SMALL)
    other = starvsr.upscale(frames, tmp_path / "b.mkv", upscaler=star, **SMALL, **asked)
    again = starvsr.upscale(frames, tmp_path / "c.mkv", upscaler=star, **SMALL)
    alone = starvsr.upscale(frames, tmp_path / "d.mkv", upscaler=TinyStar(), **SMALL, **asked)
    told = [result.provenance["options"] for result in (plain, other, again, alone)]
    assert [options.get("guidance") for options in told] == [3.0, 1.0, 3.0, 1.0]
    assert [options.get("prompt") for options in told] == [None, "a red barn", None, "a red barn"]
    a, b, c, d = (_pixels(result.output) for result in (plain, other, again, alone))
    assert np.array_equal(a, c) and np.array_equal(b, d) and not np.array_equal(a, b)


def _pixels(path: Path) -> np.ndarray:
    with starvsr.video.VideoReader(path) as reader:
        return np.stack([frame.pixels for frame in reader])


def test_prompts_are_refused_by_a_model_that_reads_none(frames: Path, tmp_path: Path, small: StarSmallUpscaler) -> None:
    for options in ({"prompt": "a red barn"}, {"guidance": 1.0}):
        with pytest.raises(OptionError, match="star-small has no use for"):
            starvsr.upscale(frames, tmp_path / "o.mkv", upscaler=small, **options)


def test_notes_and_smaller_plans_of_one_job_are_not_in_the_next(frames: Path, tmp_path: Path) -> None:
    star = TinyStar()
    star.prepared = _as_if_on_a_device
    forward, calls = star.network.forward, [0]
    fails_at = 3

    def failing(*args: object, **named: object) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        result: torch.Tensor = forward(*args, **named)
        return result

    star.network.forward = failing  # type: ignore[method-assign]
    settings = {**SMALL, "segment": 3, "tile": "off", "scene_cuts": False}
    one, two, three = (
        starvsr.upscale(frames, tmp_path / f"{name}.mkv", upscaler=star, **settings) for name in ("one", "two", "three")
    )
    assert calls == [7] and not one.notes and not three.notes  # two calls a job, and the one that failed
    assert [note[:13] for note in two.notes] == ["out of memory"]
    assert np.array_equal(_pixels(one.output), _pixels(two.output))
    assert np.array_equal(_pixels(one.output), _pixels(three.output))
    places = [made.memory.plan.place for made in star.made if made.memory.plan is not None]
    assert places[0] == places[-1] == "resident" and "resident" not in places[1:-1]  # the next begins as it was planned


def _as_if_on_a_device(made: StarI2VGenPipeline) -> None:
    """Let a CPU be planned for as a CUDA device is: weights may be offloaded and streamed."""
    made.memory.footprint = dataclasses.replace(made.memory.footprint, device="cuda")


def test_a_job_of_a_loaded_model_is_resumed_by_its_name(frames: Path, tmp_path: Path) -> None:
    class Breaking(BicubicUpscaler):
        def upscale_clip(self, lq: torch.Tensor, **arguments: int) -> torch.Tensor:
            if arguments["first_frame"] >= 30:
                raise RuntimeError("the power goes")
            return super().upscale_clip(lq, **arguments)

    many = tmp_path / "many"
    many.mkdir()
    for index in range(40):
        Image.new("RGB", (12, 10), (index, 0, 0)).save(many / f"{index:03}.png")
    out = tmp_path / "o.mkv"
    settings = {"frame_rate": 1, "segment": 10, "scene_cuts": False}
    with pytest.raises(RuntimeError, match="the power goes"):
        starvsr.upscale(many, out, upscaler=Breaking(), **settings)
    plan = json.loads((job_path(out) / "plan.json").read_text())
    assert plan["model"]["name"] == plan["options"]["model"] == "bicubic"
    with pytest.raises(JobError):
        starvsr.upscale(many, out, upscaler=NearestUpscaler(), **settings)
    assert starvsr.upscale(many, out, model="bicubic", **settings).num_kept >= 10
