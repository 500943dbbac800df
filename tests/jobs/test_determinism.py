"""The same bytes whatever the number of threads and whichever part is made first."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import pytest

from starvsr import upscale
from starvsr.jobs.joiner import Join
from tests.support.doubles import NearestUpscaler


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("model", ["bicubic", "star-small"])
def test_threads_change_no_byte(model: str, clip: Path, tmp_path: Path) -> None:
    digests = set()
    for threads in (1, 2, 3):
        out = tmp_path / f"{threads}.mp4"
        upscale(clip, out, model=model, threads=threads, segment=6, duration=Fraction(4))
        digests.add(_digest(out))
    assert len(digests) == 1


@pytest.mark.parametrize("lost", [{0}, {7, 2}, {1, 2, 4, 5}])
def test_parts_may_be_made_in_any_order(
    lost: set[int], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"scale": 1, "segment": 4, "overlap": 2, "crossfade": 2}
    upscale(clip, tmp_path / "whole.mkv", upscaler=NearestUpscaler(), **options)
    out = tmp_path / "o.mkv"

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Join, "run", stop)
        with pytest.raises(Stopped):
            upscale(clip, out, upscaler=NearestUpscaler(), **options)
    for index in lost:
        (tmp_path / "o.mkv.job" / f"part_{index:06}").unlink()
    result = upscale(clip, out, upscaler=NearestUpscaler(), **options)
    assert 70 - 13 * len(lost) <= result.num_kept < 70
    assert _digest(out) == _digest(tmp_path / "whole.mkv")
