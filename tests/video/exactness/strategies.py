"""How inputs are drawn: sizes, rates, clocks, patterns of times, outputs.

Long lists are made from a drawn number, so that 200 frames cost no more to draw than one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from tests.video.exactness.clips import Clip

RATES = [
    Fraction(24000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60000, 1001),
    Fraction(120),
    Fraction(1),
    Fraction(15, 2),
    Fraction(12345, 1001),
    Fraction(999, 7),
]
CLOCKS = [Fraction(1, d) for d in (600, 1000, 12800, 44100, 48000, 90000, 10007)]


@dataclass(frozen=True)
class Target:
    """An output: its name and the options of the job."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    least: int = 1

    @property
    def arguments(self) -> dict[str, Any]:
        """Options as keywords."""
        return dict(self.options)

    @property
    def is_matroska(self) -> bool:
        """Whether times are kept in milliseconds."""
        return self.name.endswith((".mkv", ".webm"))

    @property
    def rounding(self) -> Fraction:
        """How far times may lie from the input's: half a tick of 1 ms, or not at all."""
        return Fraction(1, 2000) if self.is_matroska else Fraction(0)


MP4 = Target("out.mp4", (("preset", "ultrafast"),))
MP4_BFRAMES = Target("out.mp4", (("preset", "veryfast"),))
MP4_HEVC = Target("out.mp4", (("codec", "hevc"), ("preset", "ultrafast")), least=64)
MOV = Target("out.mov", (("codec", "h264"), ("preset", "veryfast")))
PRORES = Target("out.mov", (("codec", "prores"),))
MKV = Target("out.mkv", (("preset", "veryfast"),))
MKV_HEVC = Target("out.mkv", (("codec", "hevc"), ("preset", "ultrafast")), least=64)
FFV1 = Target("out.mkv", (("codec", "ffv1"),))
WEBM = Target("out.webm", (("preset", "8"), ("codec", "vp9")))
TARGETS = [MP4, MP4_BFRAMES, MP4_HEVC, MOV, PRORES, MKV, MKV_HEVC, FFV1, WEBM]


def sides(least: int = 16, most: int = 256) -> st.SearchStrategy[int]:
    """Draw the length of a side in pixels, odd ones too; small ones more often."""
    return st.one_of(st.integers(least, min(48, most) if least < 48 else most), st.integers(least, most))


def even(side: int) -> int:
    """Round up to an even number, where the input's codec wants one."""
    return side + side % 2


def counts(most: int = 200) -> st.SearchStrategy[int]:
    """Draw a number of frames, few more often than many."""
    return st.one_of(st.integers(1, 12), st.integers(1, most))


@st.composite
def patterns(draw: st.DrawFn, clock: Fraction, rate: Fraction, count: int) -> tuple[int, ...]:
    """Draw increasing times from 0: constant, jittered, variable, with gaps of seconds."""
    kind = draw(st.sampled_from(["constant", "jittered", "variable", "gaps", "bursts"]))
    chance = random.Random(draw(st.integers(0, 1 << 16)))
    step = 1 / (rate * clock)
    times: list[int] = []
    at = Fraction(0)
    for _ in range(count):
        time = round(at)
        times.append(time if not times or time > times[-1] else times[-1] + 1)
        if kind == "variable":
            at += step * Fraction(chance.randint(1, 300), 100)
        elif kind == "gaps":
            at += step * (1 if chance.random() < 0.9 else chance.randint(10, 200))
        elif kind == "bursts":
            at += step if chance.random() < 0.5 else 1
        else:
            at += step
            if kind == "jittered":
                times[-1] = max(times[-1] + chance.randint(-1, 1), times[-2] + 1 if len(times) > 1 else 0)
    return tuple(times)


@dataclass(frozen=True)
class Case:
    """An input, an output, and what else was drawn."""

    clip: Clip
    target: Target
    extra: dict[str, Any] = field(default_factory=dict)


INPUTS = {
    ".mkv": ["libx264", "ffv1", "mpeg4", "mjpeg"],
    ".mp4": ["libx264", "mpeg4", "libx265"],
    ".mov": ["libx264", "mjpeg"],
    ".webm": ["libvpx-vp9"],
    ".ts": ["libx264"],
    ".flv": ["libx264"],
}


@st.composite
def timed_cases(draw: st.DrawFn) -> Case:
    """Draw an input with any pattern of times in any container, and an output."""
    suffix = draw(st.sampled_from(sorted(INPUTS)))
    codec = draw(st.sampled_from(INPUTS[suffix]))
    target = draw(st.sampled_from(TARGETS))
    rate = draw(st.sampled_from(RATES))
    clock = {
        ".mkv": Fraction(1, 1000),
        ".webm": Fraction(1, 1000),
        ".flv": Fraction(1, 1000),
        ".ts": Fraction(1, 90000),
    }
    has_free_clock = suffix in (".mp4", ".mov") and codec != "mpeg4"
    base = draw(st.sampled_from([1 / rate, *CLOCKS])) if has_free_clock else clock.get(suffix, Fraction(1, 60000))
    count = draw(counts())
    if suffix == ".ts" and count > 1:
        count = max(count, 5)  # FFmpeg finds no transport stream in less
    least = max(target.least, 64 if codec == "libx265" else 16)
    most = 256 if count < 50 else 96
    width, height = even(draw(sides(least, most))), even(draw(sides(least, most)))
    times = draw(patterns(base, rate, count))
    offset = draw(st.sampled_from([0, 0, 1, 7, 1000]))
    clip = Clip(
        suffix=suffix,
        codec=codec,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        width=width,
        height=height,
        time_base=base,
        rate=rate,
        pts=tuple(time + offset for time in times),
        bframes=codec == "libx264" and suffix != ".flv" and draw(st.booleans()),
    )
    steps = {after - here for here, after in pairwise(times)}
    is_constant = len(steps) == 1 and base == 1 / rate
    return Case(clip, target, {"constant": True} if is_constant else {})


@st.composite
def unruly_cases(draw: st.DrawFn) -> Case:
    """Draw times that repeat and go back, as broken recorders write them."""
    count = draw(st.integers(2, 60))
    chance = random.Random(draw(st.integers(0, 1 << 16)))
    how_often = draw(st.sampled_from([0.05, 0.3, 1.0]))
    pts = [40 * index for index in range(count)]
    for index in range(1, count):
        if chance.random() < how_often:
            pts[index] = pts[index - 1] if chance.random() < 0.5 else max(0, pts[index] - chance.randint(1, 200))
    codec = draw(st.sampled_from(["mjpeg", "ffv1", "libx264"]))
    clip = Clip(
        codec=codec,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        time_base=Fraction(1, 1000),
        pts=tuple(pts),
        by_hand=True,
    )
    return Case(clip, draw(st.sampled_from([MP4, MP4_BFRAMES, MOV, MKV, FFV1, WEBM])))


@st.composite
def edited_cases(draw: st.DrawFn) -> Case:
    """Draw MP4 and MOV files whose edit list delays, skips, cuts out, or hides the beginning."""
    count = draw(st.integers(2, 60))
    rate = draw(st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(50)]))
    base = draw(st.sampled_from([1 / rate, Fraction(1, 90000), Fraction(1, 600)]))
    codec = draw(st.sampled_from(["libx264", "mjpeg"]))
    step = max(1, round(1 / (rate * base)))
    clip = Clip(
        suffix=draw(st.sampled_from([".mp4", ".mov"])) if codec == "libx264" else ".mov",
        codec=codec,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        time_base=base,
        rate=rate,
        pts=tuple(step * index for index in range(count)),
        bframes=codec == "libx264" and draw(st.booleans()),
        options=(("g", str(draw(st.sampled_from([1, 5, 250])))),),
    )
    kind = draw(st.sampled_from(["delay", "skip", "skip and delay", "hole", "end", "negative start"]))
    first = draw(st.integers(1, count - 1))
    second = draw(st.integers(first, count - 1))
    delay = draw(st.integers(1, 200_000))
    return Case(
        clip,
        draw(st.sampled_from([MP4, MP4_BFRAMES, MOV, MKV, FFV1, WEBM])),
        {"edit": kind, "first": first, "second": second, "delay": delay, "step": step},
    )
