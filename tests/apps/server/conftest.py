"""Skips where the server's packages are missing; stand-ins for workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from starvsr.apps.server import device_loop, upkeep
from tests.apps.server.running import Doubles, checked, server


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Doubles]:
    doubles = Doubles()
    monkeypatch.setattr(device_loop, "WorkerProcess", doubles.start)
    monkeypatch.setattr(upkeep, "check_job", checked)
    yield doubles
    doubles.gate.set()


@pytest.fixture
def client(tmp_path: Path, doubles: Doubles) -> Iterator[Any]:
    with server(tmp_path / "data", max_upload=1000, max_jobs=6, max_jobs_per_user=4, max_stall=1) as client:
        yield client
