"""Jobs over HTTP, with workers that do nothing: states, limits, turns, what survives, what is removed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from starvsr.apps.server import upkeep
from starvsr.apps.server.application import create_application
from starvsr.apps.server.checks import Checked
from starvsr.apps.server.settings import ServerOptions, ServerSettings
from starvsr.errors import OptionError
from tests.apps.server.running import Doubles, server, state_is, submit, until


def test_a_job_from_the_file_to_the_result_and_its_end(client: Any, doubles: Doubles) -> None:
    answer = submit(client, "../../my film.MP4", scale=2, detail=0.5)
    job = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["name"] == "my film.MP4" and job["options"] == {"model": "bicubic", "scale": 2.0, "detail": 0.5}
    running = until(lambda: (j := client.get(answer.headers["location"]).json())["progress"] and j)
    assert running["state"] == "running" and running["progress"]["fraction"] == 0.25
    assert running["progress"]["seconds_left"] == 7 and running["facts"]["width"] == 4
    early = client.get(f"/api/v1/jobs/{job['id']}/result")
    assert early.status_code == 409 and early.json()["error"]["code"] == "not_done"
    doubles.gate.set()
    done = state_is(client, job["id"], "done")
    assert done["result"]["num_bytes"] == 200 and done["result"]["name"] == "my film_upscaled.mp4"
    assert done["notes"] == ["my film.MP4: ok"] and done["expires"] - done["finished"] == 72 * 3600
    result = f"/api/v1/jobs/{job['id']}/result"
    whole, part = client.get(result), client.get(result, headers={"range": "bytes=10-19"})
    assert whole.content == bytes(range(200)) and part.content == bytes(range(10, 20)) and part.status_code == 206
    assert client.head(result).headers["content-length"] == "200"
    assert "my%20film_upscaled.mp4" in whole.headers["content-disposition"]
    assert whole.headers["x-content-type-options"] == "nosniff"
    order = doubles.orders[0]
    assert order["limits"]["isolate"] is True and Path(order["source"]).parent.name == "uploads"
    folder = Path(order["out"]).parent
    assert folder.is_dir() and client.delete(answer.headers["location"]).status_code == 204
    assert not folder.exists() and client.get(answer.headers["location"]).status_code == 404
    assert client.get("/api/v1/jobs").json() == []


def test_events_tell_every_change_until_the_end(client: Any, doubles: Doubles) -> None:
    job = submit(client).json()["id"]
    state_is(client, job, "running")
    doubles.gate.set()
    with client.stream("GET", f"/api/v1/jobs/{job}/events") as stream:
        lines = [line for line in stream.iter_lines() if line]
    states = [json.loads(line.removeprefix("data: "))["state"] for line in lines if line.startswith("data: ")]
    assert states[-1] == "done" and set(states) <= {"running", "done"} and lines[0] == "event: job"


def test_pause_resume_and_cancel(client: Any, doubles: Doubles) -> None:
    first, second = submit(client).json()["id"], submit(client).json()["id"]
    state_is(client, first, "running")
    waiting = state_is(client, second, "queued")
    assert waiting["position"] == 0 and client.post(f"/api/v1/jobs/{second}/pause").json()["state"] == "paused"
    client.post(f"/api/v1/jobs/{first}/pause")
    paused = state_is(client, first, "paused")
    assert paused["progress"] is None and not paused["is_stopping"] and paused["expires"] is not None
    again = client.post(f"/api/v1/jobs/{first}/pause")
    assert again.status_code == 409 and again.json()["error"]["code"] == "wrong_state"
    assert client.post(f"/api/v1/jobs/{first}/resume").status_code == 200
    assert state_is(client, first, "running")["expires"] is None
    client.post(f"/api/v1/jobs/{first}/cancel")
    assert state_is(client, first, "cancelled")["progress"] is None
    assert not client.app.state.context.places.folder(client.app.state.context.store.job(first)).exists()
    assert client.post(f"/api/v1/jobs/{first}/resume").status_code == 409
    client.app.state.context.dispatcher.expire(time.time() + 1)
    assert client.get("/api/v1/jobs").json() == []  # a job that is paused for long expires, too


def test_a_full_queue_is_told_with_a_time(client: Any, doubles: Doubles) -> None:
    jobs = [submit(client).json()["id"] for _ in range(4)]
    refused = submit(client)
    assert refused.status_code == 429 and 5 <= int(refused.headers["retry-after"]) <= 600
    assert refused.json()["error"].keys() == {"code", "what", "why", "next"}
    assert len(client.get("/api/v1/uploads").json()) == 4  # nothing is left of what was refused
    doubles.gate.set()
    state_is(client, jobs[0], "done")
    assert submit(client).status_code == 201


def test_a_dead_worker_is_started_anew_and_a_job_that_kills_three_has_failed(client: Any, doubles: Doubles) -> None:
    doubles.deaths = 2
    doubles.gate.set()
    job = submit(client).json()["id"]
    assert state_is(client, job, "done")["error"] is None and len(doubles.orders) == 3
    doubles.deaths = 3
    job = submit(client).json()["id"]
    failed = state_is(client, job, "failed")
    assert "signal 9" in failed["error"] and "memory" in failed["error"]
    assert client.post(f"/api/v1/jobs/{job}/resume").status_code == 200
    state_is(client, job, "done")


def test_messages_tell_no_path_of_the_host(client: Any, doubles: Doubles, tmp_path: Path) -> None:
    doubles.failure = "{source}: damaged; {out} was not written; see {out}.job"
    doubles.gate.set()
    failed = state_is(client, submit(client, "film.mkv").json()["id"], "failed")
    assert failed["error"] == "film.mkv: damaged; film_upscaled.mp4 was not written; see film_upscaled.mp4.job"
    assert str(tmp_path) not in json.dumps(client.get("/api/v1/jobs").json())


REFUSED = {
    "weights": "/etc/passwd",
    "caption": "touch x",
    "prompt_from": "/etc",
    "isolate": "false",
    "max_pixels": "9",
    "device": "cuda",
    "memory": "900GB",
    "segment": "5000",
    "overwrite": "true",
    "nonsense": "1",
    "steps": "3",
}


def test_what_the_operator_decides_and_what_makes_no_sense_is_refused(client: Any) -> None:
    cases = [({name: value}, name) for name, value in REFUSED.items()]
    cases += [({"model": "star-light"}, "star-light"), ({"scale": "nine"}, "--scale"), ({"scale": "9"}, "at most 4")]
    for query, why in cases:
        answer = submit(client, **query)
        assert answer.status_code == 422 and why in answer.json()["error"]["why"], query
    assert client.get("/api/v1/jobs").json() == [] == client.get("/api/v1/uploads").json()


def test_fields_come_from_the_options_and_none_is_the_operators(client: Any) -> None:
    fields = {field["name"]: field for field in client.get("/api/v1/options").json()}
    assert list(fields)[:2] == ["model", "scale"] and fields["model"]["choices"] == ["star-small", "bicubic"]
    assert fields["detail"]["maximum"] == 1 and fields["detail"]["models"] is None
    assert fields["precision"]["models"] == ["star-small"] and "prompt" not in fields
    assert not {"weights", "tcm", "caption", "prompt_from", "device", "isolate", "memory", "segment"} & fields.keys()


def test_files_below_allowed_folders_and_no_others(tmp_path: Path, doubles: Doubles) -> None:
    films = tmp_path / "films"
    (films / "old").mkdir(parents=True)
    (films / "old" / "a.mp4").write_bytes(b"1")
    (films / "notes.txt").write_bytes(b"1")
    (tmp_path / "secret.mp4").write_bytes(b"1")
    (films / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (films / "up").symlink_to(tmp_path)
    with server(tmp_path / "data", folders=(films,)) as client:
        assert client.get("/api/v1/files").json() == ["films/old/a.mp4"]

        def by(path: str) -> Any:
            return client.post("/api/v1/jobs", json={"path": path, "options": {"model": "bicubic"}})

        tricks = [
            "films/link.mp4",
            "films/../secret.mp4",
            "films/up/secret.mp4",
            str(tmp_path / "secret.mp4"),
            "secret.mp4",
        ]
        tricks += [
            "films/notes.txt",
            "films",
            "films/",
            "films//old/a.mp4",
            "films/old\\a.mp4",
            "films/old/a.mp4\0",
            "films/old",
        ]
        told = {json.dumps(by(trick).json()) for trick in tricks}
        assert len(told) == 1 and all(by(trick).status_code == 404 for trick in tricks)
        doubles.gate.set()
        job = by("films/old/a.mp4").json()
        assert job["name"] == "a.mp4" and job["upload"] is None
        state_is(client, job["id"], "done")
        client.delete(f"/api/v1/jobs/{job['id']}")
        assert (films / "old" / "a.mp4").read_bytes() == b"1" and len(list((films / "old").iterdir())) == 1


def test_the_queue_survives_a_restart(tmp_path: Path, doubles: Doubles) -> None:
    with server(tmp_path / "data") as client:
        ids = [submit(client, f"{n}.mp4").json()["id"] for n in range(3)]
        state_is(client, ids[0], "running")
        client.post(f"/api/v1/jobs/{ids[2]}/pause")
    doubles.gate.set()
    with server(tmp_path / "data") as client:
        assert [job["id"] for job in client.get("/api/v1/jobs").json()] == ids
        assert state_is(client, ids[0], "done") and state_is(client, ids[1], "done")
        assert client.get(f"/api/v1/jobs/{ids[2]}").json()["state"] == "paused"


def test_results_and_unused_uploads_expire(client: Any, doubles: Doubles) -> None:
    doubles.gate.set()
    done = submit(client).json()["id"]
    state_is(client, done, "done")
    doubles.gate.clear()
    running = submit(client).json()["id"]
    state_is(client, running, "running")
    context = client.app.state.context
    context.dispatcher.expire(time.time() - 3600)
    assert len(client.get("/api/v1/jobs").json()) == 2
    context.dispatcher.expire(time.time() + 1)
    assert [job["id"] for job in client.get("/api/v1/jobs").json()] == [running]
    kept = client.get("/api/v1/uploads").json()
    assert len(kept) == 1 and len(list((context.places.data / "uploads").iterdir())) == 1
    assert client.delete(f"/api/v1/uploads/{kept[0]['id']}").json()["error"]["code"] == "in_use"


def test_a_preview_tells_the_time_of_the_whole(client: Any, doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The double takes one second for 12 frames: the whole has 120 of the same size."""
    facts = {"kind": "video", "width": 4, "height": 3, "num_frames": 120, "duration": 10.0}
    found = Checked(facts, (8, 6), 100, ".mp4")
    monkeypatch.setattr(upkeep, "check_job", lambda job, out, settings: found)
    doubles.gate.set()
    preview = submit(client, scale=2, start=4, duration=1).json()
    assert state_is(client, preview["id"], "done")["estimated_seconds"] is None
    doubles.gate.clear()
    whole = state_is(client, submit(client, scale=2).json()["id"], "running")
    assert whole["estimated_seconds"] == pytest.approx(10)
    half = state_is(client, submit(client, scale=3, start=5, duration=100).json()["id"], "queued")
    assert half["estimated_seconds"] == pytest.approx(5)
    other = client.post("/api/v1/jobs", json={"upload": preview["upload"], "options": {"model": "star-small"}}).json()
    assert state_is(client, other["id"], "queued")["estimated_seconds"] is None


def test_two_servers_do_not_share_a_folder(client: Any, tmp_path: Path) -> None:
    settings = ServerSettings(tmp_path / "data", options=ServerOptions(models="bicubic", devices="cpu"))
    with pytest.raises(OptionError, match="another server uses this folder"):
        create_application(settings)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OptionError, match="cannot be used"):
        create_application(ServerSettings(tmp_path / "file", options=ServerOptions(models="bicubic", devices="cpu")))


def test_users_take_turns(tmp_path: Path, doubles: Doubles) -> None:
    """Whoever queues many jobs does not keep others waiting for all of them."""
    with server(tmp_path / "data") as client:
        context = client.app.state.context
        first = submit(client).json()["id"]
        state_is(client, first, "running")
        many = [submit(client).json()["id"] for _ in range(3)]
        other = submit(client).json()["id"]
        for job in (*many, other):
            until(lambda job=job: context.store.job(job).state == "queued")
        context.store.change(other, user="other")
        doubles.gate.set()
        until(lambda: all(context.store.job(job).state == "done" for job in (*many, other)))
        assert [order["job"] for order in doubles.orders] == [first, other, *many]
