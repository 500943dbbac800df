"""The short form of `make cluster`: 200 clips on three Ray nodes, of which one is killed, and then the driver."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs starvsr[ray]")


@pytest.mark.timeout(1200)  # of a machine that is busy with all other tests; about a minute of two cores
def test_a_killed_node_and_a_killed_driver_lose_nothing(tmp_path: Path) -> None:
    words = ["-m", "benchmarks.cluster.simulation", "--clips", "200", "--json", "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["done"], found["failed"], found["missing"]) == (198, 2, 0)
    assert found["tries_of_damaged"] == [3]
    assert found["other_bytes"] == 0
    assert found["done_twice"] == 0
    assert found["redone"] <= found["workers_killed"] == 3
    assert found["driver_megabytes"] <= 300
    assert found["driver_growth"] <= 10
    assert found["exit_status"] == 1
    assert found["last_line"] == "198 done, 0 left, 2 failed"
    assert done.returncode == 0, done.stderr
