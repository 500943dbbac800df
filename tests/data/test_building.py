"""Building sets: the number of processes changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from starvsr.data.building import SetOptions, Source, build_set, find_sources, plan_set
from starvsr.data.paired import find_pairs
from starvsr.errors import DataError, OptionError
from starvsr.video.codec_pass import clip_frame_rate


@pytest.mark.slow  # each process imports torch
def test_processes_make_the_same_set(media: Path, tmp_path: Path) -> None:
    options = SetOptions(preset="light", num_frames=3, max_size=(64, 64), clips_per_video=2)
    for workers in (1, 2):
        tasks = plan_set(find_sources(media / "video"), tmp_path / str(workers), options)
        assert build_set(tasks, workers=workers) == 3
    files = [sorted((tmp_path / n).rglob("*.mkv")) for n in "12"]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


def test_step_takes_every_second_frame_at_half_the_rate(media: Path, tmp_path: Path) -> None:
    options = SetOptions(preset="light", num_frames=4, step=2, max_size=(64, 64))
    outcomes: list[str] = []
    tasks = plan_set([Source(media / "video" / "long.mkv")], tmp_path, options)
    build_set(tasks, on_done=lambda task, outcome: outcomes.append(outcome))
    assert outcomes == ["made"] and clip_frame_rate(find_pairs(tmp_path)[0].gt) == 12


def test_what_cannot_be_made_is_refused(media: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no videos in"):
        find_sources(media / "image")
    (tmp_path / "list.csv").write_text("file\na.mp4\n")
    with pytest.raises(DataError, match="no column path"):
        find_sources(tmp_path / "list.csv")
    with pytest.raises(OptionError, match="4 times smaller"):
        SetOptions(chain="released", scale=2)
