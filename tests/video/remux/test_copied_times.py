"""The times of copied sound are those that FFmpeg's own stream copy gives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from starvsr.video import VideoWriter, probe
from starvsr.video.remux.copied_times import OutputTimes
from tests.video.programs import ffmpeg


def sound(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [p.pts * Fraction(p.time_base) for p in packets if p.pts is not None]


@pytest.mark.parametrize(
    ("coding", "source", "target"),
    [
        (["truehd", "-strict", "-2", "-ac", "2"], "mkv", "mkv"),
        (["mlp", "-strict", "-2"], "mkv", "mkv"),
        (["libopus", "-frame_duration", "2.5"], "mkv", "webm"),
        (["libopus", "-frame_duration", "2.5"], "mkv", "mp4"),
        (["libvorbis"], "mkv", "mkv"),
        (["ac3"], "mkv", "mp4"),
        (["aac"], "flv", "mov"),
        (["pcm_s16le"], "mkv", "mov"),
    ],
)
def test_as_ffmpeg_copies(tmp_path: Path, coding: list[str], source: str, target: str) -> None:
    path, out, copy = (tmp_path / name for name in (f"in.{source}", f"out.{target}", f"copy.{target}"))
    tone = ["-f", "lavfi", "-i", "sine=440:r=48000:d=1.5"]
    picture = ["-f", "lavfi", "-i", "color=red:s=32x32:r=25:d=1.5"]
    ffmpeg(*picture, *tone, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", *coding, path)
    info = probe(path)
    width, codec = info.width, {"codec": "vp9"} if target == "webm" else {}
    from starvsr.video.write.encoders import EncodeOptions

    with VideoWriter(out, source=info, width=width, height=info.height, options=EncodeOptions(**codec)) as writer:
        for number in range(3):
            writer.write(np.zeros((info.height, width, 3), np.uint8), number * 40, 40)
    shift = ["-copyts"] if target in ("mp4", "mov") else []
    ffmpeg("-i", path, "-map", "0:a", "-c", "copy", *shift, copy)
    before, ours, theirs = sound(path), sound(out), sound(copy)
    assert len(ours) == len(before)
    assert [time - ours[0] for time in ours] == [time - theirs[0] for time in theirs]
    assert abs((ours[-1] - ours[0]) - (before[-1] - before[0])) <= Fraction(1, 1000)
    assert not any("moved" in note for note in writer.notes)


def times_of(packets: list[tuple[int, int]], *, strict: bool, kind: str = "video") -> tuple[list[Any], int]:
    source = SimpleNamespace(type=kind, codec_context=None)
    form = SimpleNamespace(flags=0 if strict else 0x20000, name="mp4" if strict else "matroska")
    made = OutputTimes(source, SimpleNamespace(time_base=Fraction(1, 1000)), SimpleNamespace(format=form))
    found = []
    for pts, dts in packets:
        packet = SimpleNamespace(pts=pts, dts=dts, duration=1, time_base=Fraction(1, 1000), size=1)
        made.set(packet)
        found.append((packet.pts, packet.dts))
    return found, made.num_moved


def test_a_moved_time_comes_back() -> None:
    packets = [(time, time) for time in (0, 5, 5, 5, 3, 20, 30)]
    found, moved = times_of(packets, strict=True)
    assert found == [(time, time) for time in (0, 5, 6, 7, 8, 20, 30)]
    assert moved == 3
    found, moved = times_of(packets, strict=False)
    assert found == [(time, time) for time in (0, 5, 5, 5, 5, 20, 30)]
    assert moved == 1


def test_nothing_is_shown_before_it_is_decoded() -> None:
    found, moved = times_of([(0, 0), (5, 10), (20, 20)], strict=True)
    assert moved == 1
    assert all(pts >= dts for pts, dts in found)
    assert [dts for _, dts in found] == sorted({dts for _, dts in found})


def test_a_missing_decoding_time_follows_the_packet_before() -> None:
    found, _ = times_of([(0, 0), (3, None), (4, None)], strict=True)  # type: ignore[list-item]
    assert [dts for _, dts in found] == [0, 1, 2]
