"""A store that speaks S3, on this machine, as source and destination; its connections break."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import starvsr
from starvsr.apps.batch.locations import Location
from starvsr.apps.cli import main
from starvsr.errors import InputNotFoundError, OutputExistsError, TransferError
from tests.apps.batch.conftest import Batch
from tests.docs.pages import blocks_run_by
from tests.jobs.interrupting import sha256_of
from tests.support.inline_engine import InlineEngine

moto_server = pytest.importorskip("moto.server", reason="needs moto, flask and flask-cors")
pytest.importorskip("s3fs", reason="needs starvsr[remote]")
# what these libraries warn of among themselves says nothing about this package
pytestmark = pytest.mark.filterwarnings("ignore")


_OF_THE_CONNECTION = ("connection", "content-length", "expect", "transfer-encoding")


class FlakyProxy:
    """Passes requests on to a server, and breaks off every ``each``-th of them, in three ways; with 0, none."""

    def __init__(self, target: str) -> None:
        self.each = 0
        self.num_requests = self.num_broken = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self._body()
                way = proxy.way()
                if way == "refused":
                    self.connection.close()
                    self.close_connection = True
                    return
                if way == "busy":
                    self._answer(503, {}, b"")
                    return
                sent = {n: v for n, v in self.headers.items() if n.lower() not in _OF_THE_CONNECTION}
                connection = HTTPConnection(target)
                connection.request(self.command, self.path, body, sent)
                answer = connection.getresponse()
                status, headers, content = answer.status, answer.headers, answer.read()
                connection.close()
                if way == "cut":  # it was done, and nobody hears of it
                    self.connection.close()
                    self.close_connection = True
                    return
                self._answer(status, headers, content)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return body

            def _answer(self, status: int, headers: Any, content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in (*_OF_THE_CONNECTION, "server", "date"):
                        self.send_header(name, value)
                given = headers.get("Content-Length") if self.command == "HEAD" and headers else None
                self.send_header("Content-Length", given or str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

            def log_message(self, *words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def way(self) -> str:
        with self._lock:
            self.num_requests += 1
            if not self.each or self.num_requests % self.each:
                return ""
            self.num_broken += 1
            return ("refused", "busy", "cut")[self.num_broken % 3]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def proxy() -> Iterator[FlakyProxy]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    flaky = FlakyProxy(f"{host}:{port}")
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", flaky.address)
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_MAX_ATTEMPTS", "1")
    patch.setattr("starvsr.apps.batch.store.FIRST_PAUSE", 0.01)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    patch.setattr(s3fs.S3FileSystem, "retries", 1)  # so that it is our own tries that help
    s3fs.S3FileSystem().mkdir("bucket")
    yield flaky
    patch.undo()
    flaky.close()
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def source(proxy: FlakyProxy, videos: Path) -> str:
    import s3fs

    system = s3fs.S3FileSystem()
    for name in ("a.mp4", "b.mkv", "sub/long.mp4"):
        system.put_file(str(videos / name), f"bucket/raw/{name}")
    system.pipe_file("bucket/raw/notes.txt", b"no video")
    return "s3://bucket/raw"


def test_a_batch_from_a_store_into_a_store_gives_the_bytes_of_upscale(
    source: str, videos: Path, tmp_path: Path, proxy: FlakyProxy, batch: Batch
) -> None:
    broken, proxy.each = proxy.num_broken, 3
    try:
        counts = batch(source, "s3://bucket/out", scratch=tmp_path / "scratch")
    finally:
        proxy.each = 0
    assert (counts.done, counts.failed) == (3, 0)
    assert proxy.num_broken - broken > 20
    starvsr.upscale(videos / "a.mp4", tmp_path / "a.mp4", model="bicubic", scale=2, threads=1)
    result = Location.of("s3://bucket/out/a_x2.mp4")
    assert result.sha256() == sha256_of(tmp_path / "a.mp4")
    record = json.loads(Location.of("s3://bucket/out/_batch/clips/a_x2.mp4.json").read())
    assert record["sha256"] == sha256_of(tmp_path / "a.mp4")
    assert record["output"] == "s3://bucket/out/a_x2.mp4"
    assert not list((tmp_path / "scratch").iterdir())
    # the next run knows by the records alone
    assert batch(source, "s3://bucket/out", scratch=tmp_path / "scratch").done == 3
    assert batch.orders == []


def test_the_line_of_the_page(
    source: str, tmp_path: Path, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With workers of this process in place of a Ray cluster's, which has tests of its own."""
    (block,) = blocks_run_by("tests/apps/batch/test_stores.py::test_the_line_of_the_page")
    (line,) = block.commands
    asked: list[Any] = []

    def engine(work: Any, address: str | None, workers: int | None) -> InlineEngine:
        asked.append((address, workers))
        return InlineEngine(work)

    monkeypatch.setattr("starvsr.apps.batch.ray_engine.RayEngine", engine)
    words = [*shlex.split(line)[1:], "--model", "bicubic", "--threads", "1", "--scratch", str(tmp_path / "scratch")]
    assert main(words) == 0, capsys.readouterr().err
    assert asked == [("auto", None)]
    assert all(Location.of(f"s3://bucket/large/{name}").read() for name in ("a_x4.mp4", "b_x4.mkv", "sub/long_x4.mp4"))


def test_a_manifest_in_a_store_names_inputs_beside_it(source: str, tmp_path: Path, batch: Batch) -> None:
    Location.of("s3://bucket/raw/m.jsonl").write_json({"input": "a.mp4"})
    content = b'{"input": "a.mp4"}\n{"input": "s3://bucket/raw/none.mp4", "output": "x/none.mp4"}\n'
    import s3fs

    s3fs.S3FileSystem().pipe_file("bucket/raw/m.jsonl", content)
    counts = batch("s3://bucket/raw/m.jsonl", tmp_path / "out")
    assert (counts.done, counts.failed) == (1, 1)
    assert (tmp_path / "out/a_x2.mp4").exists()
    assert "no such file" in json.loads((tmp_path / "out/_batch/clips/x/none.mp4.json").read_bytes())["error"]


def test_an_upload_replaces_nothing_also_when_its_answer_is_lost(proxy: FlakyProxy, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "other").write_bytes(b"other")
    place = Location.of("s3://bucket/created")
    place.create(tmp_path / "one", sha256_of(tmp_path / "one"))
    place.create(tmp_path / "one", sha256_of(tmp_path / "one"))  # the same bytes: as after a lost answer
    with pytest.raises(OutputExistsError, match="another file"):
        place.create(tmp_path / "other", sha256_of(tmp_path / "other"))
    assert place.read() == b"one"
    place.create(tmp_path / "other", sha256_of(tmp_path / "other"), overwrite=True)
    assert place.read() == b"other"


def test_what_is_not_there_is_told_at_once_and_what_is_out_of_reach_after_some_tries(
    proxy: FlakyProxy, tmp_path: Path
) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        Location.of("s3://bucket/raw/none.mp4").stamp()
    proxy.each = 1
    try:
        with pytest.raises(TransferError, match="in 6 tries"):
            Location.of("s3://bucket/raw/a.mp4").fetch(tmp_path / "a.mp4")
    finally:
        proxy.each = 0
    assert not list(tmp_path.iterdir())
