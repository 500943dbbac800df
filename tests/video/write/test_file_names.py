from __future__ import annotations

import os
from pathlib import Path

import pytest

from starvsr.errors import OptionError
from starvsr.jobs.folder import job_path
from starvsr.jobs.outputs import comparison_paths
from starvsr.video.write.file_names import check_name, fitting
from starvsr.video.write.publish import partial_path


@pytest.mark.parametrize("stem", ["日" * 83, "a" * 251, "é" * 125, "x" + "\U0001f600" * 62, "Dr. " + "b" * 240])
def test_every_name_made_from_a_long_one_fits_and_keeps_its_suffix(stem: str, tmp_path: Path) -> None:
    out = tmp_path / f"{stem}.mp4"
    made = [job_path(out), partial_path(out), *comparison_paths(out), fitting(out, stem, after="_x4.mp4")]
    for path in made:
        path.write_bytes(b"x")
        assert len(os.fsencode(path.name)) <= 255
    assert made[0].name.endswith(".mp4.job") and made[1].suffix == ".mp4"
    assert made[-1].name.endswith("_x4.mp4") and made[-1].name[:20] == stem[:20]


def test_short_names_stay_and_long_ones_stay_different(tmp_path: Path) -> None:
    assert fitting(tmp_path / "a.mp4", "a.mp4", after=".job").name == "a.mp4.job"
    first, second = (fitting(tmp_path / "x", "z" * 250 + end, after="_x4.mp4") for end in "ab")
    assert first != second


def test_a_name_that_does_not_fit_is_refused_with_its_size(tmp_path: Path) -> None:
    check_name(tmp_path / ("日" * 85))
    with pytest.raises(OptionError, match=r"259 bytes, and the file system takes 255"):
        check_name(tmp_path / ("日" * 85 + ".mp4"))
