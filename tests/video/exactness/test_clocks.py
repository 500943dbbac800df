"""Clocks: joined recordings, raw streams, sound whose packets are shorter than a tick; made by FFmpeg's program.

What is right follows from how they were made: raw streams have a constant rate, recordings begin at known times. For
sound it is the program's own stream copy. The program is no judge of raw streams: of 24 frames of MPEG-4 at 60000/1001
per second it shows two, since its decoder takes the resolution of the clock (60000) for the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import av
from hypothesis import strategies as st

from tests.video.exactness.facts import copied_streams, ffmpeg, shown_by_pyav
from tests.video.exactness.properties import holds, identity
from tests.video.exactness.strategies import MKV, MOV, MP4, WEBM, Target

QUICK = ("-preset", "ultrafast", "-pix_fmt", "yuv420p")
_SHORT = {  # by the words that choose it: containers that it comes in
    ("truehd", "-strict", "-2", "-ac", "2"): [".mkv"],
    ("mlp", "-strict", "-2"): [".mkv"],
    ("libopus", "-frame_duration", "2.5"): [".mkv", ".webm", ".mp4"],
    ("libopus", "-frame_duration", "20"): [".mkv", ".ts"],
    ("libvorbis",): [".mkv", ".webm"],
    ("flac", "-frame_size", "48"): [".mkv"],
    ("ac3",): [".mkv", ".ts", ".mp4"],
    ("aac",): [".mkv", ".flv", ".ts", ".mp4"],
    ("pcm_s16le",): [".mkv", ".avi", ".mov"],
    ("adpcm_ms",): [".avi", ".mkv"],  # named by WAV's tags
    ("wmav2",): [".avi", ".mkv", ".asf"],
    ("pcm_alaw",): [".avi", ".mkv"],
}
_EXACT = ("flac",)  # FFmpeg's program does not count these by their header, and gives them uneven lengths
_RAW = [
    (".h264", ("-c:v", "libx264", *QUICK)),
    (".hevc", ("-c:v", "libx265", "-x265-params", "log-level=none", *QUICK)),
    (".m2v", ("-c:v", "mpeg2video")),
    (".m4v", ("-c:v", "mpeg4", "-f", "m4v")),
    (".ivf", ("-c:v", "libvpx", "-deadline", "realtime")),
    (".y4m", ("-pix_fmt", "yuv420p")),
    (".dv", ("-c:v", "dvvideo")),
]
FRAMES = 20
WRAP = Fraction(1 << 33, 90000)
LONGEST_GAP = 10  # seconds, as for FFmpeg's program
_RATES = ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001"]
_DV = [("720x576", "25", "yuv420p"), ("720x480", "30000/1001", "yuv411p"), ("720x576", "25", "yuv422p")]


@dataclass(frozen=True)
class Sounding:
    """A film whose sound is coded by FFmpeg's program, and where it goes."""

    coding: tuple[str, ...]
    suffix: str
    rate: int
    target: Target


@st.composite
def soundings(draw: st.DrawFn) -> Sounding:
    """Draw a kind of sound, a container that it comes in, and an output."""
    coding = draw(st.sampled_from(sorted(_SHORT)))
    rate = 48000 if coding[0] in ("libopus", "ac3") else draw(st.sampled_from([44100, 48000]))
    suffix = draw(st.sampled_from(_SHORT[coding]))
    return Sounding(coding, suffix, rate, draw(st.sampled_from([MKV, MKV, MP4, MOV, WEBM])))


@holds("sound of short packets, and by WAV's tags", soundings(), few=4, many=100)
def test_sound_keeps_the_times_of_a_copy(case: Sounding, folder: Path) -> None:
    """Packets are the same, and their times those of FFmpeg's own copy to a tick; or the stream is named."""
    source, out, copy = folder / f"in{case.suffix}", folder / case.target.name, folder / f"copy{case.target.name[3:]}"
    tone = ["-f", "lavfi", "-i", f"sine=440:r={case.rate}:d=0.7"]
    picture = ["-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=0.7"]
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".asf": "mpeg4"}.get(case.suffix, "libx264")
    ffmpeg(*picture, *tone, "-c:v", codec, "-pix_fmt", "yuv420p", "-c:a", *case.coding, source)
    notes = identity(source, out, **case.target.arguments).notes
    (before,), found = copied_streams(source, "audio"), copied_streams(out, "audio")
    if not found:
        assert any("is left out" in note and "sound" in note for note in notes)
        return
    (after,) = found
    assert not any("were moved" in note for note in notes)
    if before.codec.startswith("pcm_"):
        assert b"".join(after.content) == b"".join(before.content)
        return
    assert len(after.times) == len(before.times)
    worst = max(abs((a - after.times[0]) - (b - before.times[0])) for a, b in pairwise_of(after.times, before.times))
    assert worst <= before.tick + after.tick, f"{float(worst)} s"
    if case.coding[0] in _EXACT:
        return
    ffmpeg("-i", source, "-map", "0:a", "-c", "copy", "-strict", "-2", "-copyts", copy)
    (other,) = copied_streams(copy, "audio")
    worst = max(abs((a - after.times[0]) - (b - other.times[0])) for a, b in pairwise_of(after.times, other.times))
    assert worst <= 2 * after.tick, f"{float(worst)} s from FFmpeg's copy"


def pairwise_of(one: list[Fraction], other: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """Pair two lists of one length."""
    return list(zip(one, other, strict=True))


@dataclass(frozen=True)
class Raw:
    """A raw stream, and where it goes."""

    suffix: str
    coding: tuple[str, ...]
    size: str
    rate: str
    count: int
    target: Target


@st.composite
def raw_streams(draw: st.DrawFn) -> Raw:
    """Draw a kind of raw stream, its rate and length."""
    suffix, coding = draw(st.sampled_from(_RAW))
    size, rate = "64x64", draw(st.sampled_from(_RATES))
    if suffix == ".dv":
        size, rate, pixels = draw(st.sampled_from(_DV))
        coding = (*coding, "-pix_fmt", pixels)
    count = draw(st.integers(2, 8 if suffix == ".dv" else 25))
    return Raw(suffix, coding, size, rate, count, draw(st.sampled_from([MP4, MOV, MKV])))


@holds("raw streams and DV", raw_streams(), few=3, many=80)
def test_raw_streams_go_at_their_rate(case: Raw, folder: Path) -> None:
    source, out = folder / f"in{case.suffix}", folder / case.target.name
    picture = ["-f", "lavfi", "-i", f"testsrc2=s={case.size}:r={case.rate}"]
    ffmpeg(*picture, "-frames:v", str(case.count), *case.coding, source)
    result = identity(source, out, deinterlace="off", **case.target.arguments)
    shown = shown_by_pyav(out)
    assert result.num_frames == len(shown.times) == case.count
    for number, time in enumerate(shown.times):
        right = number / Fraction(case.rate)
        assert abs(time - shown.times[0] - right) <= 2 * case.target.rounding + Fraction(1, 10**6), number
    with av.open(str(out)) as container:
        assert abs(container.streams.video[0].guessed_rate / Fraction(case.rate) - 1) < Fraction(1, 100)


@dataclass(frozen=True)
class Joined:
    """Recordings of 20 frames, by where their clocks begin, laid one behind the other."""

    starts: tuple[Fraction, ...]
    suffix: str
    bframes: int
    rate: str
    target: Target

    @property
    def length(self) -> Fraction:
        """Seconds of a recording."""
        return FRAMES / Fraction(self.rate)

    @property
    def gaps(self) -> list[Fraction]:
        """Seconds without a picture at each border that are in the clock and stay; 0 where the clock steps.

        The clock has 33 bits of 1/90000 s, so it goes on at 0 after 26.5 hours.
        """
        missing = [(after - here - self.length) % WRAP for here, after in pairwise(self.starts)]
        return [gap if gap <= LONGEST_GAP else Fraction(0) for gap in missing]


@st.composite
def joined_streams(draw: st.DrawFn) -> Joined:
    """Draw recordings whose clocks begin anywhere, near their wrap at 26.5 hours too, or overlap a little."""
    suffix = draw(st.sampled_from([".ts", ".ts", ".vob"]))
    rate = draw(st.sampled_from(["25", "30000/1001", "50"]))
    bframes = draw(st.sampled_from([0, 2])) if suffix == ".ts" else 0
    starts = [Fraction(draw(st.sampled_from([10, 3600, 95442, 60000])))]
    for _ in range(draw(st.integers(1, 3))):
        here = starts[-1]
        end = here + FRAMES / Fraction(rate)
        overlapping = [here, end - Fraction(1, 10), end - Fraction(6, 100), end]
        starts.append(draw(st.sampled_from([Fraction(1), Fraction(500), Fraction(50000), *overlapping])))
    return Joined(tuple(starts), suffix, bframes, rate, draw(st.sampled_from([MP4, MKV, MOV])))


@holds("joined recordings", joined_streams(), few=3, many=80)
def test_joined_recordings_go_on_in_time(case: Joined, folder: Path) -> None:
    """Every frame arrives, none close behind another, no gap that is not in the clock; sound lies to the pictures."""
    source, out = folder / f"in{case.suffix}", folder / case.target.name
    pieces = [folder / f"{number}{case.suffix}" for number in range(len(case.starts))]
    for piece, start in zip(pieces, case.starts, strict=True):
        piece.write_bytes(recording(case.suffix, case.bframes, case.rate, start))
    source.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    counts = [len(copied_streams(piece, "audio")[0].times) for piece in pieces]
    result = identity(source, out, **case.target.arguments)
    shown = shown_by_pyav(out)
    step = 1 / Fraction(case.rate)
    assert result.num_frames == len(shown.times) == FRAMES * len(pieces)
    for number, (here, after) in enumerate(pairwise(shown.times), 1):
        gap = case.gaps[number // FRAMES - 1] if number % FRAMES == 0 else 0
        assert after - here >= step * Fraction(45, 100) + gap, f"{float(after - here)} s before frame {number}"
        assert after - here <= step + Fraction(15, 100) + gap, f"{float(after - here)} s before frame {number}"
    assert not any("do not increase" in note for note in result.notes)
    (sound,) = copied_streams(out, "audio")
    assert len(sound.times) == sum(counts)
    alone, sounding = shown_by_pyav(pieces[-1]), copied_streams(pieces[-1], "audio")[0]
    wanted = sounding.times[-1] - alone.times[-1]
    assert abs((sound.times[-1] - shown.times[-1]) - wanted) <= Fraction(5, 1000)


@lru_cache(maxsize=256)
def recording(suffix: str, bframes: int, rate: str, start: Fraction) -> bytes:
    """Make a recording of 20 pictures and a tone whose clock begins at a time."""
    length = float(FRAMES / Fraction(rate))
    tone = ["-f", "lavfi", "-i", f"testsrc2=s=32x32:r={rate}", "-f", "lavfi", "-i", f"sine=440:r=48000:d={length}"]
    codec = ["libx264", "-preset", "veryfast"] if suffix == ".ts" else ["mpeg2video"]
    words = ["-frames:v", str(FRAMES), "-c:v", *codec, "-bf", str(bframes), "-pix_fmt", "yuv420p", "-c:a", "mp2"]
    kind = {".ts": "mpegts", ".vob": "vob"}[suffix]
    return ffmpeg(*tone, *words, "-output_ts_offset", f"{float(start)}", "-f", kind, "-")
