"""A look before the work: estimates, frames of a preview, and that they come first."""

from __future__ import annotations

import sqlite3
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from starvsr.api import prepare
from starvsr.apps.server import device_loop, routes_previews
from starvsr.apps.server.preview_clip import write_preview_clip
from starvsr.apps.server.preview_frames import write_preview
from starvsr.apps.server.records import JobRecord
from starvsr.apps.server.store import Store
from starvsr.engine.progress import CancelToken
from starvsr.video import VideoReader, probe
from starvsr.video.playable import plays_anywhere
from tests.apps.server.running import Doubles, server, state_is, submit, until
from tests.support.doubles import NearestUpscaler
from tests.video.clips import make_clip


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_frames_are_those_of_the_clip_and_the_share_is_left_to_the_viewer(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", count=20, size=(24, 16))
    with VideoReader(clip) as reader:
        source = [frame.pixels for frame in reader]
    (tmp_path / "out").mkdir()
    model = NearestUpscaler()
    job = prepare(clip, tmp_path / "out" / "result.mp4", upscaler=model, detail=0.3, crf=30, start=0.4)
    told = write_preview(job, 0.4, 2)
    assert told["times"] == [0.4, 0.44] and told["blends"] and (told["width"], told["height"]) == (96, 64)
    for index in range(2):
        after = picture(tmp_path / "out" / f"after-{index}.png")
        assert np.array_equal(after, source[10 + index].repeat(4, 0).repeat(4, 1))
        before = picture(tmp_path / "out" / f"before-{index}.png")
        assert before.shape == after.shape and not np.array_equal(before, after)
    assert told["estimated_seconds"] == pytest.approx(10 * told["seconds_per_frame"]) and told["memory"] > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[-1] == "before-1.png"  # and no video


def test_a_target_size_becomes_the_scale_of_the_frames(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", count=3, size=(24, 16))
    job = prepare(clip, tmp_path / "result.mp4", upscaler=NearestUpscaler(), height=32)
    told = write_preview(job, 0, 1)
    assert (told["width"], told["height"]) == (48, 32) and picture(tmp_path / "after-0.png").shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("name", "coding", "after"),
    [
        ("result.mp4", {}, "after.mp4"),
        ("result.mkv", {"codec": "ffv1"}, "after.mp4"),
        ("result.mov", {"codec": "prores"}, "after.webm"),  # whose sound is not for MP4
    ],
)
def test_seconds_become_two_videos_that_browsers_play(
    tmp_path: Path, name: str, coding: dict[str, str], after: str
) -> None:
    sound = "pcm_s16le" if name.endswith("mov") else "aac"
    source = tmp_path / ("a.mov" if name.endswith("mov") else "a.mp4")
    clip = make_clip(source, count=50, size=(24, 16), rate=Fraction(10), audio=[sound], audio_seconds=5)
    (tmp_path / "out").mkdir()
    job = prepare(
        clip, tmp_path / "out" / name, upscaler=NearestUpscaler(), detail=0.3, start=1, isolate=True, **coding
    )
    reports: list[Any] = []
    told = write_preview_clip(job, 3, 1, reports.append, CancelToken())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [after, "before.mp4"]  # and nothing else
    before, made = (probe(tmp_path / "out" / file) for file in ("before.mp4", after))
    assert plays_anywhere(before) and plays_anywhere(made) and made.has_timestamps
    assert (told["num_frames"], told["times"], told["frame_rate"]) == (10, [3.0], "10") and told["blends"]
    assert (told["width"], told["height"]) == (made.width, made.height) == (before.width, before.height) == (96, 64)
    assert told["sound"] and any(stream.kind == "audio" for stream in made.streams)
    with VideoReader(clip) as originals, VideoReader(tmp_path / "out" / after) as results:
        wanted = [frame.pixels for frame in originals][30:40]
        for frame, original in zip(results, wanted, strict=True):  # the model's result alone: the viewer blends
            large = original.repeat(4, 0).repeat(4, 1).astype(int)
            assert np.abs(frame.pixels.astype(int) - large).mean() < 4
    assert told["estimated_seconds"] > 4 * told["seconds"] * 0.7 and told["memory"] > 0 and reports


def ask_preview(client: Any, upload: str, **values: Any) -> Any:
    return client.post("/api/v1/previews", json={"upload": upload, "options": {"model": "bicubic"}, **values})


def test_previews_come_first_and_their_frames_are_their_users_alone(client: Any, doubles: Doubles) -> None:
    running = submit(client).json()
    state_is(client, running["id"], "running")
    waiting = submit(client).json()["id"]
    state_is(client, waiting, "queued")
    for wrong in ({"count": 0}, {"count": 9}, {"at": -1}, {"at": "x"}, {"seconds": 0}, {"seconds": 11}):
        assert ask_preview(client, running["upload"], **wrong).status_code == 422
    look = ask_preview(client, running["upload"], at=0.5, count=2).json()
    assert look["preview"] == {"at": 0.5, "count": 2}
    state_is(client, look["id"], "queued")
    frame = f"/api/v1/jobs/{look['id']}/frames/0/after"
    assert client.get(frame).status_code == 404
    assert client.post(f"/api/v1/jobs/{look['id']}/pause").json()["error"]["code"] == "wrong_state"
    doubles.gate.set()
    assert state_is(client, look["id"], "done")
    assert [order["job"] for order in doubles.orders][:2] == [running["id"], look["id"]]
    context = client.app.state.context
    folder = context.places.folder(context.store.job(look["id"]))
    Image.new("RGB", (4, 3)).save(folder / "after-0.png")
    assert client.get(frame).headers["content-type"] == "image/png"
    for place in ("frames/1/after", "frames/0/other", "frames/-1/after", "frames/..%2f..%2f/after"):
        assert client.get(f"/api/v1/jobs/{look['id']}/{place}").status_code in (404, 422)
    assert client.get(f"/api/v1/jobs/{look['id']}/result").json()["error"]["code"] == "not_done"
    assert client.get(f"/api/v1/jobs/{running['id']}/source").content == b"0" * 50
    assert client.get(f"/api/v1/jobs/{look['id']}/clips/after").json()["error"]["code"] == "no_such_clip"
    moving = ask_preview(client, running["upload"], at=1, seconds=1.5).json()
    assert moving["preview"] == {"at": 1.0, "seconds": 1.5}
    state_is(client, moving["id"], "done")
    (context.places.folder(context.store.job(moving["id"])) / "before.mp4").write_bytes(bytes(50))
    clip = f"/api/v1/jobs/{moving['id']}/clips/before"
    piece = client.get(clip, headers={"range": "bytes=10-19"})
    assert (piece.status_code, len(piece.content), piece.headers["content-type"]) == (206, 10, "video/mp4")
    assert client.get(f"/api/v1/jobs/{moving['id']}/clips/other").status_code == 422
    context.store.change(moving["id"], user="other")
    assert client.get(clip).status_code == 404
    context.store.change(look["id"], user="other")
    context.store.change(running["id"], user="other")
    assert client.get(frame).status_code == client.get(f"/api/v1/jobs/{running['id']}/source").status_code == 404


def test_a_preview_under_way_is_ended_with_its_worker(client: Any, doubles: Doubles) -> None:
    upload = submit(client).json()["upload"]
    doubles.gate.set()
    until(lambda: client.get("/api/v1/jobs").json()[0]["state"] == "done")
    doubles.gate.clear()
    look = ask_preview(client, upload).json()["id"]
    state_is(client, look, "running")
    assert client.delete(f"/api/v1/jobs/{look}").status_code == 204
    until(lambda: client.get(f"/api/v1/jobs/{look}").status_code == 404)
    doubles.gate.set()
    assert state_is(client, submit(client).json()["id"], "done")


def test_estimates_tell_facts_and_refusals(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    make_clip(folder / "a.mp4", count=10, size=(64, 48), audio=["aac"])
    (folder / "b.mp4").write_bytes(b"no video")
    with server(tmp_path / "data", folders=(folder,), max_disk_per_user=10 << 20) as client:
        told = client.post("/api/v1/estimates", json={"path": "films/a.mp4", "options": {"scale": 3}}).json()
        assert (told["width"], told["height"], told["container"]) == (192, 144, "mp4")
        assert told["facts"]["num_frames"] == 10 and told["facts"]["sound"] and told["estimated_seconds"] is None
        assert 0 < told["num_bytes"] < told["free_bytes"] <= 10 << 20
        wrong = client.post("/api/v1/estimates", json={"path": "films/b.mp4"})
        assert wrong.status_code == 422 and "b.mp4" in wrong.json()["error"]["why"]
        assert str(tmp_path) not in wrong.text
        assert client.post("/api/v1/estimates", json={"path": "films/../a.mp4"}).status_code == 404
        assert client.post("/api/v1/estimates", json={"upload": "0" * 24}).status_code == 404
        assert client.get("/api/v1/jobs").json() == []


def test_estimates_of_many_wait_for_each_other(client: Any, doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_previews, "_PATIENCE", 0.01)
    monkeypatch.setattr(routes_previews, "_CHECKS", routes_previews.threading.BoundedSemaphore(1))
    upload = submit(client).json()["upload"]
    with routes_previews._CHECKS:
        answer = client.post("/api/v1/estimates", json={"upload": upload})
    assert answer.status_code == 429 and answer.headers["retry-after"] == "10"


def test_a_users_share_of_the_disk(tmp_path: Path, doubles: Doubles) -> None:
    with server(tmp_path / "data", max_disk_per_user=120) as client:
        assert submit(client).status_code == 201
        assert client.app.state.context.dispatcher.free_disk("other") == 120
        refused = client.post("/api/v1/uploads", json={"size": 100})
        assert refused.status_code == 507 and "your files" in refused.json()["error"]["why"]
        client.app.state.context.dispatcher.need_disk(100, "other")


def test_an_idle_worker_is_ended(tmp_path: Path, doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[Any] = []
    monkeypatch.setattr(device_loop, "WorkerProcess", lambda: workers.append(doubles.start()) or workers[-1])
    monkeypatch.setattr(device_loop, "_IDLE", 0.02)
    doubles.gate.set()
    with server(tmp_path / "data", max_idle=0) as client:
        assert state_is(client, submit(client).json()["id"], "done")
        until(lambda: not workers[0].is_alive)
        assert state_is(client, submit(client).json()["id"], "done") and len(workers) == 2


def test_the_record_of_an_older_server_is_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite")
    store.add_job(JobRecord("a" * 24, "local", "a.mp4", None, "a.mp4", ".mp4", {"model": "bicubic"}))
    store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as db:  # as format 1 was
        db.execute("ALTER TABLE jobs DROP COLUMN preview")
        db.execute("PRAGMA user_version = 1")
    db.close()
    store = Store(tmp_path / "jobs.sqlite")
    assert store.job("a" * 24).preview == {}
    store.add_job(JobRecord("b" * 24, "local", "b.mp4", None, "b.mp4", ".mp4", {}, preview={"at": 1, "count": 3}))
    assert store.job("b" * 24).is_preview
    store.close()
