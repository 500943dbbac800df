"""Segments in other processes: the same plan, journal and bytes as here; what goes wrong there is told here."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import starvsr
from starvsr.apps.cli import main
from starvsr.engine.executor import LocalExecutor
from starvsr.engine.process_executor import ProcessExecutor, RemoteTraceback
from starvsr.engine.progress import CancelToken, Progress
from starvsr.engine.render import U16Frames
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.segments import plan_segments
from starvsr.errors import Cancelled, OptionError, ResourceError, StarVsrError, WeightsError, WorkerError
from starvsr.families.job_settings import plain_settings
from starvsr.jobs.folder import JobFolder
from starvsr.jobs.model_reference import reference_of
from tests.engine.test_stream import chunks
from tests.jobs.interrupting import QUICK, Broken, break_at, breaker, records, sha256_of
from tests.support.doubles import DriftingUpscaler, NearestUpscaler, NoisyUpscaler, random_frames
from tests.support.tiny_star import TinyStar
from tests.support.worker_models import FailingUpscaler
from tests.video.clips import make_clip, moving_bars


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessExecutor]:
    """Two processes that serve all tests of this file, one job after the other."""
    with ProcessExecutor(("cpu", "cpu"), threads=1) as executor:
        yield executor


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alpha") / "in.mov"
    return make_clip(path, moving_bars(20, 24, 32, 4), codec="png", pix_fmt="rgba", rate=Fraction(4))


KINDS = {
    "cuts, uneven times, sound": ("o.mkv", {"model": "bicubic", "scale": 2, "segment": 4}),
    "tiles": ("o.mp4", {"model": "bicubic", "scale": 2, "segment": 6, "tile": 16, "duration": Fraction(6)}),
    "cross-fades": ("o.mkv", {"scale": 1, "segment": 4, "overlap": 2, "crossfade": 2, "upscaler": DriftingUpscaler}),
    "noise": ("o", {"scale": 1, "segment": 5, "seed": 3, "steps": 2, "upscaler": NoisyUpscaler}),
    "star-small": ("o.mp4", {"model": "star-small", "segment": 4, "duration": Fraction(3)}),
    "tiny STAR": ("o.mp4", {"seed": 3, "steps": 1, "segment": 4, "duration": Fraction(2), "upscaler": TinyStar}),
    "alpha": ("o.mov", {"model": "bicubic", "scale": 2, "segment": 4, "overlap": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_processes_give_the_plan_the_journal_and_the_bytes_of_this_one(
    kind: str, clip: Path, alpha: Path, tmp_path: Path, processes: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, options = KINDS[kind]
    monkeypatch.setattr(JobFolder, "remove", lambda self, lock: True)  # the folder can be looked at
    made = []
    for place, executor in (("here", None), ("there", processes)):
        out = tmp_path / place / name
        out.parent.mkdir()
        upscaler = options["upscaler"]() if "upscaler" in options else None
        given = {key: value for key, value in options.items() if key != "upscaler"}
        job = starvsr.prepare(alpha if kind == "alpha" else clip, out, upscaler=upscaler, **given)
        result = job.run(executor=executor)
        folder = JobFolder(out.with_name(f"{name}.job"))
        files = folder.part_plan.read_bytes(), folder.journal.read_bytes()
        made.append((sha256_of(out), result.num_frames, result.notes, *files))
    assert made[0] == made[1]
    assert len(json.loads(files[0])["segments"]) > 2


@pytest.mark.parametrize("first", ["here", "there"])
def test_a_job_goes_on_with_another_executor(
    first: str, clip: Path, tmp_path: Path, processes: ProcessExecutor
) -> None:
    options = {"scale": 1, "segment": 4, "overlap": 2, "crossfade": 2}
    starvsr.upscale(clip, tmp_path / "whole.mkv", upscaler=DriftingUpscaler(), **options)
    out = tmp_path / "o.mkv"
    executors = (None, processes) if first == "here" else (processes, None)
    with pytest.raises(Broken):
        starvsr.prepare(clip, out, upscaler=DriftingUpscaler(), **options).run(
            on_progress=breaker(40), executor=executors[0]
        )
    assert records(out, "part")
    result = starvsr.prepare(clip, out, upscaler=DriftingUpscaler(), **options).run(executor=executors[1])
    assert result.num_kept >= 24
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mkv")


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("kill", WorkerError, r"frames \d+ to \d+ on cpu ended \(by SIGKILL.*finished parts are kept.*--processes"),
        ("memory", ResourceError, "out of memory"),
    ],
)
def test_what_goes_wrong_in_a_process_is_told_and_the_job_goes_on_from_there(
    how: str, error: type[Exception], said: str, clip: Path, tmp_path: Path, processes: ProcessExecutor
) -> None:
    options = {"scale": 1, "segment": 4, "overlap": 0}
    out = tmp_path / "o.mp4"
    with pytest.raises(error, match=said):
        starvsr.prepare(clip, out, upscaler=FailingUpscaler(how=how), **options).run(executor=processes)
    assert not out.exists() and records(out, "part")
    result = starvsr.upscale(clip, out, upscaler=FailingUpscaler(how=how), **options)
    assert 8 <= result.num_kept <= 30
    starvsr.upscale(clip, tmp_path / "whole.mp4", upscaler=FailingUpscaler(how=how), **options)
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mp4")


def test_errors_of_a_process_come_out_as_they_are_and_it_serves_on() -> None:
    with ProcessExecutor(("cpu",), threads=1) as executor:
        for how, error, said in [
            ("ours", StarVsrError, "^the lamp is broken: change it$"),
            ("other", ZeroDivisionError, "division by zero"),
            ("untold", WorkerError, "Untold: one two"),
        ]:
            with pytest.raises(error, match=said) as caught:
                _stores(executor, _tasks(4, FailingUpscaler(how=how, frame=1)))
            cause = caught.value.__cause__
            assert isinstance(cause, RemoteTraceback) and "worker_models.py" in str(cause)
        assert len(_stores(executor, _tasks(4, NearestUpscaler()))) == 2
        with pytest.raises(WorkerError, match="with exit status 7"):
            _stores(executor, _tasks(4, FailingUpscaler(how="exit", frame=1)))
        assert len(_stores(executor, _tasks(4, NearestUpscaler()))) == 2  # by a new process


def _tasks(num_frames: int, upscaler: NearestUpscaler) -> list[SegmentTask]:
    frames = random_frames(num_frames, 6, 8)
    job = plain_settings(upscaler)
    traits = upscaler.traits_for(job.values)
    render = RenderSettings(chunks(6, 8, length=2), job, traits, reference_of(upscaler), "0" * 64)
    segments = plan_segments(num_frames, 2, 1)
    return [SegmentTask(render, s, tuple(f.pixels for f in frames[s.start : s.stop])) for s in segments]


def _stores(executor: LocalExecutor | ProcessExecutor, tasks: list[SegmentTask]) -> list[list[U16Frames]]:
    return [list(made) for _, made in executor.render(tasks, CancelToken(), lambda task, share: None)]


def test_tasks_can_be_pickled_and_give_the_same_then(processes: ProcessExecutor) -> None:
    model = NoisyUpscaler()
    tasks = _tasks(9, model)
    with model.open(tasks[0].render.settings) as session:
        wanted = _stores(LocalExecutor(session), tasks)
        again = _stores(LocalExecutor(session), [pickle.loads(pickle.dumps(task)) for task in tasks])
    for stores in (again, _stores(processes, tasks)):
        assert all(np.array_equal(*pair) for pair in zip(stores, wanted, strict=True))
    copy = pickle.loads(pickle.dumps(tasks[3]))
    assert (copy.segment, copy.render.input_sha256) == (tasks[3].segment, "0" * 64)
    assert copy.render.plan == tasks[3].render.plan and copy.render.settings == tasks[3].render.settings


def test_no_more_tasks_are_under_way_than_are_told(processes: ProcessExecutor) -> None:
    tasks, taken, out = _tasks(30, NearestUpscaler()), 0, 0

    def counted() -> Iterator[SegmentTask]:
        nonlocal taken
        for task in tasks:
            taken += 1
            assert taken - out <= processes.most_in_flight
            yield task

    for task, _ in processes.render(counted(), CancelToken(), lambda task, share: None):
        assert task is tasks[out]
        out += 1
    assert out == len(tasks) and processes.peak_memory > 2**20


def test_cancelling_ends_the_processes(clip: Path, tmp_path: Path, processes: ProcessExecutor) -> None:
    token = CancelToken()

    def look(report: Progress) -> None:
        if report.num_done >= 20:
            token.cancel()

    job = starvsr.prepare(clip, tmp_path / "o.mp4", **QUICK)
    with pytest.raises(Cancelled):
        job.run(on_progress=look, cancel=token, executor=processes)
    assert records(tmp_path / "o.mp4", "part")
    assert job.run().num_kept >= 8


def test_other_weights_than_those_of_the_job_are_refused(processes: ProcessExecutor) -> None:
    from dataclasses import replace

    (task,) = _tasks(2, NearestUpscaler())
    other = replace(task.render, traits=replace(task.render.traits, digest="1" * 64))
    with pytest.raises(WeightsError, match="changed while the job ran"):
        _stores(processes, [replace(task, render=other)])


def test_the_command_takes_processes_and_devices(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["upscale", str(clip), "--model", "bicubic", "--scale", "2", "--segment", "4", "--duration", "5", "-q"]
    assert main([*words, "-o", str(tmp_path / "here.mkv")]) == 0
    assert main([*words, "-o", str(tmp_path / "there.mkv"), "--processes", "2", "--threads", "2"]) == 0
    assert sha256_of(tmp_path / "here.mkv") == sha256_of(tmp_path / "there.mkv")
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "a.mkv"), "--devices", "cpu, cpu", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "bicubic on 2 processes on cpu" in said and "in each of 2 processes" in said
    assert main([*words, "-o", str(tmp_path / "a.mkv"), "--devices", "cpu,cpu", "--processes", "2"]) == 2
    assert "leave out --processes" in capsys.readouterr().err
    assert main([*words, "-o", str(tmp_path / "a.mkv"), "--devices", "cpu,tpu"]) == 1
    assert "--device tpu cannot be used here" in capsys.readouterr().err


def test_a_model_that_cannot_travel_is_refused_before_any_work(clip: Path, tmp_path: Path) -> None:
    mirror = starvsr.FunctionUpscaler("mirror", 1, lambda lq: lq.flip(-1))
    with pytest.raises(OptionError, match="model mirror cannot be sent to other processes"):
        starvsr.prepare(clip, tmp_path / "o.mp4", upscaler=mirror, scale=1, processes=2)
    assert starvsr.prepare(clip, tmp_path / "o.mp4", upscaler=mirror, scale=1, processes=1).run().num_frames == 70
    with pytest.raises(OptionError, match="photos are computed one after the other: leave out --processes"):
        main_photos(tmp_path)


def main_photos(folder: Path) -> None:
    from PIL import Image

    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "one.png")
    starvsr.upscale(folder / "photos", folder / "large", model="bicubic", images="photos", processes=2)


def test_a_broken_job_is_not_of_the_executor(clip: Path, tmp_path: Path) -> None:
    break_at(clip, tmp_path / "o.mp4", 40, **QUICK, processes=1)
    assert starvsr.upscale(clip, tmp_path / "o.mp4", **QUICK).num_kept >= 24
