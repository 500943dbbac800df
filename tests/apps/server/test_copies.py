"""Copies that browsers play: made when they are asked for, each user's own, counted, and gone with their job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starvsr.video import probe
from tests.apps.server.running import Doubles, server, state_is, submit, until
from tests.video.clips import make_clip, moving_bars


def finished(client: Any, folder: Path, doubles: Doubles) -> tuple[str, Any, Path]:
    """A job that is done, whose input and result are an AVI and a MOV with ProRes."""
    content = make_clip(folder / "in.avi", count=10, codec="mpeg4", audio=["mp2"]).read_bytes()
    doubles.gate.set()
    id = submit(client, "holiday.avi", content, container="mov").json()["id"]
    state_is(client, id, "done")
    context = client.app.state.context
    job = context.store.job(id)
    result = make_clip(folder / "out.mov", count=10, codec="prores_ks", pix_fmt="yuv422p10le", audio=["pcm_s16le"])
    context.places.output(job).write_bytes(result.read_bytes())
    return id, job, context.places.folder(job)


def make_long(path: Path) -> None:
    """A clip that takes a while to copy, of one frame again and again."""
    make_clip(path, np.broadcast_to(moving_bars(1, 240, 320), (1500, 240, 320, 3)), codec="mpeg4")


def settled(client: Any, url: str) -> Any:
    return until(lambda: (told := client.get(url).json())["state"] in ("ready", "failed") and told)


def test_copies_of_input_and_result(tmp_path: Path, doubles: Doubles) -> None:
    with server(tmp_path / "data") as client:
        id, _, folder = finished(client, tmp_path, doubles)
        before = client.app.state.context.store.num_bytes("local")
        for side, sound, suffix in (("source", 0, ".mp4"), ("result", 1, ".webm")):
            url = f"/api/v1/jobs/{id}/copies/{side}"
            assert client.get(url).json()["error"]["code"] == "no_copy"
            assert client.get(f"{url}/content").status_code == 409
            asked = client.post(url)
            assert asked.status_code == 202 and asked.json()["state"] in ("waiting", "making")
            assert settled(client, url) == {"state": "ready", "fraction": None, "error": None}
            assert client.post(url).json()["state"] == "ready"  # and nothing is made anew
            answer = client.get(f"{url}/content", headers={"range": "bytes=0-99"})
            assert answer.status_code == 206 and len(answer.content) == 100
            assert answer.headers["content-security-policy"] == "sandbox"
            assert f"holiday_{side}{suffix}" in answer.headers["content-disposition"]
            copy = probe(folder / f"copy-{side}{suffix}")
            assert [stream.kind for stream in copy.streams].count("audio") == sound
        sizes = sum(path.stat().st_size for path in folder.glob("copy-*"))
        until(lambda: client.app.state.context.store.num_bytes("local") == before + sizes)  # of the user's share
        client.app.state.context.store.change(id, user="other")
        for method, place in (("get", ""), ("post", ""), ("get", "/content")):
            assert client.request(method, f"/api/v1/jobs/{id}/copies/source{place}").status_code == 404
        client.app.state.context.store.change(id, user="local")
        assert client.get(f"/api/v1/jobs/{id}/copies/other").status_code == 422
        assert client.delete(f"/api/v1/jobs/{id}").status_code == 204 and not folder.exists()
        assert client.post(f"/api/v1/jobs/{id}/copies/source").status_code == 404


def test_copies_survive_the_server_and_unfinished_jobs_have_none(tmp_path: Path, doubles: Doubles) -> None:
    with server(tmp_path / "data") as client:
        id, _, _ = finished(client, tmp_path, doubles)
        url = f"/api/v1/jobs/{id}/copies/source"
        client.post(url)
        assert settled(client, url)["state"] == "ready"
        doubles.gate.clear()
        waiting = submit(client).json()["id"]
        assert client.post(f"/api/v1/jobs/{waiting}/copies/source").json()["error"]["code"] == "not_done"
    with server(tmp_path / "data") as client:
        assert client.get(f"/api/v1/jobs/{id}/copies/source").json()["state"] == "ready"


def test_what_cannot_be_copied_is_told_without_paths(client: Any, doubles: Doubles, tmp_path: Path) -> None:
    doubles.gate.set()
    id = submit(client, "song.mp4").json()["id"]  # no video
    state_is(client, id, "done")
    url = f"/api/v1/jobs/{id}/copies/source"
    client.post(url)
    told = settled(client, url)
    assert told["state"] == "failed" and "song.mp4" in told["error"] and str(tmp_path) not in told["error"]
    assert client.post(url).json()["state"] in ("waiting", "making")  # it can be tried again
    assert settled(client, url)["state"] == "failed"


def test_too_little_room_and_too_many(tmp_path: Path, doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path / "data") as client:
        id, _, folder = finished(client, tmp_path, doubles)
        dispatcher = client.app.state.context.dispatcher
        monkeypatch.setattr(dispatcher, "free_disk", lambda user: 100)
        url = f"/api/v1/jobs/{id}/copies/source"
        client.post(url)
        told = settled(client, url)
        assert told["state"] == "failed" and "100 bytes that are free" in told["error"]
        assert not list(folder.glob("copy-*"))
        monkeypatch.setitem(dispatcher._settings.options.__dict__, "max_jobs", 1)
        client.app.state.context.copies._waiting.append(("another job", "source", Path()))
        full = client.post(url)
        assert full.status_code == 429 and full.headers["retry-after"] == "30"


def test_a_copy_under_way_ends_with_its_job(tmp_path: Path, doubles: Doubles) -> None:
    with server(tmp_path / "data") as client:
        id, _, folder = finished(client, tmp_path, doubles)
        context = client.app.state.context
        make_long(Path(context.store.job(id).source))
        url = f"/api/v1/jobs/{id}/copies/source"
        client.post(url)
        until(lambda: (client.get(url).json()["fraction"] or 0) > 0)
        worker = context.copies._worker
        assert client.delete(f"/api/v1/jobs/{id}").status_code == 204
        until(lambda: not worker.is_alive and not folder.exists() and context.copies._worker is None)


def test_a_server_that_ends_takes_its_copies_with_it(tmp_path: Path, doubles: Doubles) -> None:
    with server(tmp_path / "data") as client:
        id, _, _ = finished(client, tmp_path, doubles)
        context = client.app.state.context
        make_long(Path(context.store.job(id).source))
        client.post(f"/api/v1/jobs/{id}/copies/source")
        worker = until(lambda: context.copies._worker)
    assert not worker.is_alive


def test_a_copy_that_fails_unexpectedly_keeps_no_other_waiting(
    tmp_path: Path, doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(tmp_path / "data") as client:
        id, _, _ = finished(client, tmp_path, doubles)
        copies = client.app.state.context.copies

        def no_process(*_: Any) -> None:
            raise OSError("no memory for another process")

        with monkeypatch.context() as patch:
            patch.setattr(copies, "_make", no_process)
            client.post(f"/api/v1/jobs/{id}/copies/source")
            told = settled(client, f"/api/v1/jobs/{id}/copies/source")
            assert told["state"] == "failed" and "unexpected OSError" in told["error"]
        client.post(f"/api/v1/jobs/{id}/copies/result")
        assert settled(client, f"/api/v1/jobs/{id}/copies/result")["state"] == "ready"
