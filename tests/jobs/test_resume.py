"""Interrupted and resumed: the same bytes as without, and no finished part made twice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from starvsr import upscale
from starvsr.errors import OptionError, StarVsrError
from starvsr.video import VideoReader
from tests.jobs.interrupting import QUICK, Broken, break_at, breaker, records, run_to_end, sha256_of
from tests.support.doubles import DriftingUpscaler, NearestUpscaler
from tests.video.clips import make_clip, packets_of


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("o.mp4", {}),
        ("o.mkv", {"codec": "hevc", "preset": "ultrafast", "scale": 4}),
        ("o.webm", {"codec": "vp9", "preset": "8", "missing_streams": "convert"}),
        ("o.ts", {"missing_streams": "convert"}),
        ("o.mkv", {"codec": "av1", "preset": "12", "scale": 4}),
        ("o.mov", {"codec": "prores"}),
        ("o.mkv", {"codec": "ffv1"}),
        ("o", {}),
    ],
)
def test_interrupted_runs_give_the_bytes_of_an_undisturbed_one(
    name: str, options: dict, clip: Path, tmp_path: Path
) -> None:
    options = {**QUICK, **options}
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    whole, broken = tmp_path / "whole" / name, tmp_path / "broken" / name
    assert run_to_end(clip, whole, **options).num_frames == 70
    for frame in (20, 69):
        break_at(clip, broken, frame, **options)
        assert not broken.exists()
    result = run_to_end(clip, broken, **options)
    assert result.num_kept >= 56 and result.num_frames == 70
    assert sha256_of(broken) == sha256_of(whole)
    assert [p.name for p in broken.parent.iterdir()] == [name]


def test_the_joined_video_has_exact_times_sound_and_keyframes(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    upscale(clip, out, **QUICK)
    with VideoReader(clip) as before, VideoReader(out) as after:
        times = [[(f.pts * f.time_base, f.duration * f.time_base) for f in reader] for reader in (before, after)]
    assert times[0] == times[1] and len(times[0]) == 70
    assert [data for _, data in packets_of(clip, "audio")[0]] == [data for _, data in packets_of(out, "audio")[0]]


@pytest.mark.parametrize("cuts", [{"segment": 4, "overlap": 2, "crossfade": 2}, {"segment": 12, "overlap": 4}])
def test_context_and_cross_fades_survive_an_interruption(cuts: dict, clip: Path, tmp_path: Path) -> None:
    options = {"codec": "ffv1", "scale": 1, **cuts}
    upscale(clip, tmp_path / "whole.mkv", upscaler=DriftingUpscaler(), **options)
    for frame in (12, 31, 60):
        break_at(clip, tmp_path / "broken.mkv", frame, upscaler=DriftingUpscaler(), **options)
    assert upscale(clip, tmp_path / "broken.mkv", upscaler=DriftingUpscaler(), **options).num_kept > 40
    assert _digest_of_pictures(tmp_path / "broken.mkv") == _digest_of_pictures(tmp_path / "whole.mkv")


def _digest_of_pictures(path: Path) -> list[bytes]:
    with VideoReader(path) as reader:
        return [frame.pixels.tobytes() for frame in reader]


def test_an_avi_is_gone_on_with_to_the_same_bytes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=70, size=(32, 24), rate=Fraction(4), audio=["aac"], audio_seconds=17)
    whole, broken = tmp_path / "whole.avi", tmp_path / "broken.avi"
    run_to_end(source, whole, **QUICK)
    break_at(source, broken, 40, **QUICK)
    assert run_to_end(source, broken, **QUICK).num_kept >= 24
    assert sha256_of(broken) == sha256_of(whole)


def test_uneven_times_are_refused_for_avi_before_any_work(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="constant rate"):
        upscale(clip, tmp_path / "o.avi", **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_part_is_never_made_again(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    seen: list[int] = []
    for frame in (25, 50, 10_000):
        model = NearestUpscaler()
        try:
            upscale(clip, out, upscaler=model, scale=1, segment=4, overlap=0, on_progress=breaker(frame))
        except Broken:
            kept = [record["stop"] for record in records(out, "part")]
            assert kept and kept[-1] > frame - 13  # at most the part that was open is lost
        seen.append(sum(shape[2] for shape, *_ in model.calls))
    assert seen[1] <= 70 - kept[0] and sum(seen) <= 70 + 2 * (8 + 8)  # a part, and the segments read ahead of it


@pytest.mark.parametrize("frame", [1, 29, 52])
def test_running_out_of_memory_in_any_segment_loses_one_part_at_most(frame: int, clip: Path, tmp_path: Path) -> None:
    class Hungry(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):
            if arguments["first_frame"] >= frame:
                raise MemoryError
            return super().upscale_clip(lq, **arguments)

    options = {"scale": 1, "segment": 4, "overlap": 0}
    out = tmp_path / "o.mp4"
    with pytest.raises(StarVsrError, match="out of memory"):
        upscale(clip, out, upscaler=Hungry(), **options)
    kept = run_to_end(clip, out, upscaler=NearestUpscaler(), **options).num_kept
    assert kept >= frame - 12
    upscale(clip, tmp_path / "whole.mp4", upscaler=NearestUpscaler(), **options)
    assert sha256_of(out) == sha256_of(tmp_path / "whole.mp4")
