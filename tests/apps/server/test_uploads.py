"""Uploads in pieces: resumed, checked, bounded, and slow ones in nobody's way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from starvsr.apps.server import guard
from starvsr.apps.server.application import create_application
from starvsr.apps.server.settings import ServerOptions, ServerSettings
from tests.apps.server.running import PIECE, Doubles, server, state_is, submit, until


def test_a_file_in_pieces_is_resumed_from_the_offset_that_is_told(client: Any, doubles: Doubles) -> None:
    announced = client.post("/api/v1/uploads", json={"name": "a.mkv", "size": 100})
    place = announced.headers["location"]
    assert announced.status_code == 201 and announced.json()["offset"] == 0
    first = client.patch(place, content=b"a" * 60, headers={**PIECE, "upload-offset": "0"})
    assert first.status_code == 204 and first.headers["upload-offset"] == "60"
    wrong = client.patch(place, content=b"b" * 40, headers={**PIECE, "upload-offset": "0"})
    assert wrong.status_code == 409 and wrong.headers["upload-offset"] == "60" and "60" in wrong.json()["error"]["next"]
    body = {"upload": announced.json()["id"], "options": {"model": "bicubic"}, "container": "mkv"}
    early = client.post("/api/v1/jobs", json=body)
    assert early.status_code == 409 and early.json()["error"]["code"] == "not_complete"
    more = client.patch(place, content=b"b" * 41, headers={**PIECE, "upload-offset": "60"})
    assert more.status_code == 413 and client.head(place).headers["upload-offset"] == "60"
    assert client.patch(place, content=b"b" * 40, headers={**PIECE, "upload-offset": "60"}).status_code == 204
    assert client.get(f"{place}/content", headers={"range": "bytes=58-61"}).content == b"aabb"
    doubles.gate.set()
    jobs = [client.post("/api/v1/jobs", json=body).json()["id"] for _ in range(2)]  # a preview, then the whole
    for job in jobs:
        assert state_is(client, job, "done")["result"]["name"] == "a_upscaled.mkv"
    assert Path(doubles.orders[0]["source"]).read_bytes() == b"a" * 60 + b"b" * 40
    assert client.delete(place).status_code == 204 and client.get(place).status_code == 404


def test_limits_are_looked_at_before_bytes_come(client: Any, tmp_path: Path) -> None:
    large = client.post("/api/v1/uploads", json={"name": "a.mp4", "size": 1001})
    assert large.status_code == 413 and "more than the 1000" in large.json()["error"]["why"]
    assert submit(client, content=b"0" * 1001).status_code == 413
    for _ in range(4):
        assert client.post("/api/v1/uploads", json={"name": "a.mp4", "size": 10}).status_code == 201
    assert client.post("/api/v1/uploads", json={"name": "a.mp4", "size": 10}).status_code == 429
    assert client.post("/api/v1/uploads", json={"name": "a", "size": 0}).status_code == 422
    assert client.post("/api/v1/uploads", json={"name": "a", "size": 5, "path": "/x"}).status_code == 422
    with server(tmp_path / "small", max_disk=150) as other:
        assert other.post("/api/v1/uploads", json={"name": "a.mp4", "size": 100}).status_code == 201
        full = other.post("/api/v1/uploads", json={"name": "a.mp4", "size": 100})
        assert full.status_code == 507 and full.json()["error"]["code"] == "disk_full"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b\\..\\c.mp4", "x.mp4\n\r", "\0", "..", "%2e%2e%2fx.mp4", "é" * 500]
)
def test_names_never_become_paths(client: Any, name: str) -> None:
    answer = client.post("/api/v1/uploads", json={"name": name, "size": 10})
    assert answer.status_code == 201
    shown = answer.json()["name"]
    assert "/" not in shown and "\\" not in shown and shown.isprintable() and len(shown) <= 120
    client.patch(answer.headers["location"], content=b"0123456789", headers={**PIECE, "upload-offset": "0"})
    files = list((client.app.state.context.places.data / "uploads").iterdir())
    assert len(files) == 1 and files[0].stem == answer.json()["id"] and files[0].suffix in ("", ".mp4")


@pytest.fixture
def port(tmp_path: Path, doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server behind a real socket."""
    monkeypatch.setattr(guard, "HEADER_SECONDS", 1.0)
    options = ServerOptions(devices="cpu", models="bicubic", max_stall=2)
    config = uvicorn.Config(
        create_application(ServerSettings(tmp_path / "data", options=options)),
        http=guard.PatientProtocol,
        port=0,
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    until(lambda: running.started)
    yield running.servers[0].sockets[0].getsockname()[1]
    running.should_exit = True
    thread.join(30)


def test_slow_senders_block_nobody_and_are_given_up(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
    head = f"POST /api/v1/jobs/file?model=bicubic HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 100\r\n"
    for index, sender in enumerate(slow):  # half of them do not even end their headers
        sender.sendall(head.encode() + (b"\r\n123" if index % 2 else b"X-Slow: "))
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as quick:
        quick.sendall(f"GET /api/v1/server HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        quick.settimeout(20)
        assert quick.recv(100).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 10
    answers = []
    for sender in slow:
        sender.settimeout(20)
        answers.append(sender.recv(4000))
        sender.close()
    assert (
        answers[0] == b""
        and answers[1].startswith(b"HTTP/1.1 408")
        and b"too_slow" in answers[1] + sender_rest(answers)
    )
    assert {answer[:12] for answer in answers} == {b"", b"HTTP/1.1 408"}


def sender_rest(answers: list[bytes]) -> bytes:
    """The bodies may come in pieces of their own."""
    return b"".join(answers)
