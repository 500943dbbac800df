"""Tiny clips by FFmpeg's program, and a batch with workers in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import starvsr.apps.batch.driver
from starvsr.apps.batch.clip_queue import Counts
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.run import BatchSettings, run_batch
from starvsr.apps.batch.settings import WorkSettings
from starvsr.families.options import UpscaleOptions
from tests.support.inline_engine import InlineEngine
from tests.video.programs import ffmpeg

BICUBIC = UpscaleOptions(model="bicubic", scale=2, threads=1)


def make_videos(folder: Path, lengths: dict[str, int]) -> Path:
    """Make clips of 16x16 at 4 frames a second, of so many seconds each."""
    for name, seconds in lengths.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ffmpeg("-f", "lavfi", "-i", f"testsrc=size=16x16:rate=4:duration={seconds}", "-c:v", "mpeg4", path)
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, one of them in a folder below; nothing may be written into it."""
    return make_videos(tmp_path_factory.mktemp("archive"), {"a.mp4": 1, "b.mkv": 1, "sub/long.mp4": 9})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starvsr.apps.batch.driver, "_FIRST_PAUSE", 0.0)


class Batch:
    """Runs batches in this process, and keeps what was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.engine: InlineEngine | None = None
        monkeypatch.setattr("starvsr.apps.batch.run.look_with_torch", lambda *words: {"gpus": [None]})

    def __call__(
        self,
        source: Path | str,
        destination: Path | str,
        *,
        before: Callable[[Any], Any] = lambda order: None,
        options: UpscaleOptions = BICUBIC,
        engine: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Counts:
        def make(work: WorkSettings) -> InlineEngine:
            self.engine = InlineEngine(work, before=before, **(engine or {}))
            return self.engine

        batch = BatchSettings(Location.of(source), Location.of(destination), options, **settings)
        self.told, self.engine = [], None
        return run_batch(batch, on_event=self.told.append, make_engine=make)

    @property
    def orders(self) -> list[tuple[str, str]]:
        """(operation, output) of the last run."""
        orders = [] if self.engine is None else self.engine.orders
        return [(order["op"], order["clip"]["output"]) for order in orders]


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Batch:
    return Batch(monkeypatch)
