"""The public entry points: one call, or prepare and run; options whole or by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

import starvsr
from starvsr.errors import OptionError
from starvsr.jobs.job import Job
from tests.support.doubles import NearestUpscaler


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.effect_noise((16, 12), 64).convert("RGB").save(path)
    return path


def test_prepare_takes_options_by_name_and_run_does_the_job(tmp_path: Path, picture: Path) -> None:
    job = starvsr.prepare(picture, tmp_path / "out.png", scale=2, model="bicubic")
    assert isinstance(job, starvsr.UpscaleJob) and (job.width, job.height) == (32, 24)
    assert list(tmp_path.iterdir()) == [picture]  # nothing is written yet
    stages: list[str] = []
    result = job.run(on_progress=lambda progress: stages.append(progress.stage))
    assert result.output == tmp_path / "out.png" and stages[-1] == "done"
    with Image.open(result.output) as image:
        assert image.size == (32, 24)
    whole = starvsr.upscale(picture, tmp_path / "one.png", starvsr.UpscaleOptions(scale=2, model="bicubic"))
    assert whole.output.read_bytes() == result.output.read_bytes()


def test_prepare_takes_options_whole_and_single_ones_in_their_place(tmp_path: Path, picture: Path) -> None:
    options = starvsr.UpscaleOptions(scale=3, model="bicubic")
    assert starvsr.prepare(picture, tmp_path / "a.png", options).width == 48
    assert starvsr.prepare(picture, tmp_path / "a.png", options, scale=2).width == 32
    with pytest.raises(OptionError, match="did you mean scale"):
        starvsr.prepare(picture, tmp_path / "a.png", scal=2)


def test_prepare_and_upscale_take_a_loaded_model(tmp_path: Path, picture: Path) -> None:
    upscaler = NearestUpscaler()
    job = starvsr.prepare(picture, tmp_path / "out.png", upscaler=upscaler)
    assert job.upscaler is upscaler
    assert job.run().provenance["model"] == upscaler.name


def test_the_job_is_data_and_the_old_name_of_load_upscaler_stays() -> None:
    assert dataclasses.is_dataclass(Job) and not hasattr(Job, "run")
    assert starvsr.load_pipeline is starvsr.load_upscaler
    assert starvsr.load_upscaler("bicubic").name == "bicubic"
    assert {"prepare", "UpscaleJob", "load_upscaler"} <= set(starvsr.__all__)


def test_a_function_becomes_a_model_in_one_line(tmp_path: Path, picture: Path) -> None:
    mirror = starvsr.FunctionUpscaler("mirror", 1, lambda lq: lq.flip(-1))
    out = starvsr.upscale(picture, tmp_path / "out.png", upscaler=mirror, scale=1).output
    with Image.open(picture) as given, Image.open(out) as made:
        assert made.tobytes() == given.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
