"""A server in the test's own process, with workers that do nothing but what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from starvsr.apps.server import device_loop
from starvsr.apps.server.application import create_application
from starvsr.apps.server.checks import Checked
from starvsr.apps.server.settings import ServerOptions, ServerSettings

PIECE = {"content-type": "application/offset+octet-stream"}
RAW = {"content-type": "application/octet-stream"}


@contextmanager
def server(
    data: Path, *, folders: tuple[Path, ...] = (), password_file: Path | None = None, **options: Any
) -> Iterator[Any]:
    """Yield a client of a server; ``client.app.state.context`` has its parts."""
    plain = ServerOptions(**{"devices": "cpu", "models": "star-small,bicubic", "page": False, **options})
    application = create_application(ServerSettings(data, folders, password_file, plain))
    with TestClient(application, base_url="http://localhost") as client:
        yield client


class Doubles:
    """What stands for workers: jobs wait for ``gate``; those of ``dying`` options end their process."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.orders: list[dict[str, Any]] = []
        self.deaths = 0
        self.failure: str | None = None

    def start(self) -> DoubleWorker:
        return DoubleWorker(self)


class DoubleWorker:
    pid = 1

    def __init__(self, doubles: Doubles) -> None:
        self._doubles, self._stop, self.is_alive = doubles, threading.Event(), True

    def run(self, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._doubles.orders.append(order)
        self._stop.clear()
        told = {"num_kept": 0, "fraction": 0.0, "frames_per_second": 2.0, "seconds_left": 7.0}
        yield {"kind": "progress", "stage": "upscaling", "num_done": 3, "num_frames": 12, **told}
        if self._doubles.deaths:
            self._doubles.deaths -= 1
            self.is_alive = False
            raise device_loop.WorkerDiedError(-9)
        while not self._doubles.gate.wait(0.01):
            if self._stop.is_set():
                yield {"kind": "stopped"}
                return
            if not self.is_alive:
                raise device_loop.WorkerDiedError(-9)
        if self._doubles.failure is not None:
            yield {"kind": "failed", "message": self._doubles.failure.format(**order)}
            return
        Path(order["out"]).write_bytes(bytes(range(200)))
        yield {
            "kind": "done",
            "num_frames": 12,
            "width": 8,
            "height": 6,
            "seconds": 1.0,
            "notes": [f"{order['source']}: ok"],
        }

    def stop(self, job: str) -> None:
        self._stop.set()

    def kill(self) -> None:
        self.is_alive = False

    close = kill


def checked(job: Any, out: Path, settings: Any) -> Checked:
    return Checked({"kind": "video", "width": 4, "height": 3}, (8, 6), 100, job.container)


def until(what: Callable[[], Any], seconds: float = 200) -> Any:
    """Wait for something to be true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


def submit(client: Any, name: str = "a.mp4", content: bytes = b"0" * 50, **query: Any) -> Any:
    return client.post(
        "/api/v1/jobs/file", params={"name": name, "model": "bicubic", **query}, content=content, headers=RAW
    )


def state_is(client: Any, job: str, *states: str, headers: Any = None) -> Any:
    """Wait for a state, and return the job."""

    def look() -> Any:
        found = client.get(f"/api/v1/jobs/{job}", headers=headers).json()
        assert found["state"] in states or found["state"] not in ("done", "failed", "cancelled"), found
        return found if found["state"] in states else None

    return until(look)


def parts_of(data: Path, job: str, suffix: str = "mkv") -> int:
    """How many parts of a job are finished."""
    journal = data / "jobs" / job / f"result.{suffix}.job" / "journal"
    return journal.read_text(errors="replace").count('"kind":"part"') if journal.exists() else 0
