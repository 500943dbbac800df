from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from starvsr.video.remux.audio_durations import alac_samples
from tests.video.clips import make_clip, packets_of
from tests.video.frames import copy

HEADER = struct.pack(">I4sII", 36, b"alac", 0, 4096) + bytes(20)


def begin(kind: int, count: int | None) -> bytes:
    """The beginning, in bits: kind 3, number 4, unused 12, has a count 1, shift 2, not packed 1, count 32."""
    bits = f"{kind:03b}{0:04b}{0:012b}{count is not None:b}00" + "0" + f"{count or 0:032b}"
    return int(bits.ljust(64, "0"), 2).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (begin(0, None), 4096),
        (begin(0, 1), 1),
        (begin(1, 1570), 1570),
        (begin(1, 4096), 4096),
        (begin(1, 4097), 4096),
        (begin(1, 0), 4096),
        (begin(4, 17), 4096),  # no sound
        (b"", 4096),
        (b"\xff", 4096),
    ],
)
def test_a_packet_of_alac_tells_its_samples_or_counts_as_whole(packet: bytes, samples: int) -> None:
    assert alac_samples(HEADER, packet) == samples


@pytest.mark.parametrize("header", [b"", HEADER[:15], HEADER.replace(b"alac", b"flac"), HEADER[:12] + b"\xff" * 24])
def test_headers_that_are_none_tell_nothing(header: bytes) -> None:
    assert alac_samples(header, begin(0, 5)) == 0


@pytest.mark.parametrize("name", ["out.mov", "out.mp4"])
@pytest.mark.parametrize("seconds", [0.05, 0.4])
def test_the_last_packet_of_alac_from_matroska_is_there(tmp_path: Path, name: str, seconds: float) -> None:
    source = make_clip(tmp_path / "in.mkv", count=3, audio=["alac"], audio_seconds=seconds)
    with av.open(str(source)) as container:  # else there is nothing to show
        assert {packet.duration for packet in container.demux(audio=0)} == {0}
    copy(source, tmp_path / name)
    before, after = packets_of(source, "audio")[0], packets_of(tmp_path / name, "audio")[0]
    assert [data for _, data in after] == [data for _, data in before]
    with av.open(str(tmp_path / name)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == round(48000 * seconds)
        length = container.streams.audio[0].duration * Fraction(container.streams.audio[0].time_base)
    assert 0 <= length - Fraction(round(1000 * seconds), 1000) <= Fraction(2, 1000)
