"""Memory does not grow with the length of the video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, sys
import numpy as np, psutil, torch
from starvsr import upscale
from starvsr.video import VideoWriter
torch.set_num_threads(1)
folder, count = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
texture = rng.integers(0, 256, (200, 400, 3), np.uint8)
with VideoWriter(f"{folder}/long.mkv", source=None, width=96, height=54) as writer:
    for i in range(count):
        writer.write(np.ascontiguousarray(texture[i % 100 : i % 100 + 54, i % 300 : i % 300 + 96]), i, 1)
process, curve = psutil.Process(), []
def look(report):
    if report.num_done % 50 == 0 and (not curve or curve[-1][0] != report.num_done):
        curve.append((report.num_done, process.memory_info().rss))
result = upscale(f"{folder}/long.mkv", f"{folder}/out.mkv", model="bicubic", segment=8, overlap=2, on_progress=look)
print(json.dumps({"frames": result.num_frames, "curve": curve}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_is_flat_over_3000_frames(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path), "3000"], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["frames"] == 3000
    settled = [(frame, rss) for frame, rss in told["curve"] if frame >= 500]
    early = max(rss for frame, rss in settled if frame <= 1250)
    late = max(rss for frame, rss in settled if frame >= 2250)
    assert late - early <= 2 * 2**20, told["curve"]
