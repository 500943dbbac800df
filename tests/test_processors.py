"""How torch's threads wait: set before torch is loaded, never against the user's word. How many there may be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from starvsr.processors import allowed_processors

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def _policy(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    told = "import os; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {told}"], env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_it_is_set_before_torch_is_loaded() -> None:
    seen = "import sys; import starvsr; assert 'torch' not in sys.modules"
    assert _policy(seen) == "PASSIVE"


@pytest.mark.parametrize(
    ("name", "value", "policy"),
    [
        ("OMP_WAIT_POLICY", "ACTIVE", "ACTIVE"),
        ("GOMP_SPINCOUNT", "1000", "None"),
        ("KMP_BLOCKTIME", "200", "None"),
    ],
)
def test_the_users_word_counts(name: str, value: str, policy: str) -> None:
    assert _policy("import starvsr", **{name: value}) == policy


def test_a_program_that_has_torch_keeps_its_environment() -> None:
    loaded = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')"  # as if: the real one takes seconds
    assert _policy(f"{loaded}; import starvsr") == "None"


def _system(root: Path, group: str, limits: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": group, **limits}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("group", "limits", "count"),
    [
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ("0::/", {"sys/fs/cgroup/cpu.max": "250000 100000"}, 3),
        ("0::/a/b", {"sys/fs/cgroup/a/cpu.max": "50000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 1),
        ("0::/", {"sys/fs/cgroup/cpu.max": "1600000 100000"}, 8),
        ("4:cpu,cpuacct:/", {f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us": us for name, us in
                             (("quota", "200000"), ("period", "100000"))}, 2),
        ("4:cpu,cpuacct:/", {f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us": us for name, us in
                             (("quota", "-1"), ("period", "100000"))}, 8),
        ("0::/", {}, 8),
    ],
    ids=["no limit", "quota", "of a parent", "more than there are", "first version", "none there", "no file"],
)  # fmt: skip
def test_affinity_and_quotas_count(
    group: str, limits: dict[str, str], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(8)), raising=False)
    assert allowed_processors(_system(tmp_path, group, limits)) == count


def test_without_proc_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {3}, raising=False)
    assert allowed_processors(tmp_path) == 1
