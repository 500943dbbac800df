"""The plan of an archive is the pilot's figures times the archive's frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cluster.archive_plan import Pilot, plan_of, read_pilot


def test_records_of_a_pilot_become_a_plan(tmp_path: Path) -> None:
    folder = tmp_path / "_batch/clips/sub"
    folder.mkdir(parents=True)
    done = {
        "state": "done",
        "num_frames": 50,
        "num_bytes": 1_000_000,
        "seconds": {"fetch": 1, "upscale": 8, "deliver": 1},
    }
    (folder / "a.mp4.json").write_text(json.dumps(done))
    (folder.parent / "b.mp4.json").write_text(json.dumps(done))
    (folder.parent / "c.mp4.json").write_text(json.dumps({"state": "failed"}))
    pilot = read_pilot(tmp_path)
    assert pilot == Pilot(clips=3, failed=1, frames=100, busy_seconds=20, waiting_seconds=4, num_bytes=2_000_000)
    rows = dict(plan_of(pilot, hours=100, frame_rate=25, workers=10, price=2))
    # 100 h are 9e6 frames of 0.2 s and 20 kB
    assert rows["hours of workers"] == "500"
    assert rows["days with 10 workers"] == "2.1"
    assert rows["cost"].startswith("1,000 ")
    assert rows["storage of the results"] == "0.18 TB"
    assert rows["clips given up"] == "33.3%"


def test_a_folder_without_records_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no records"):
        read_pilot(tmp_path)
