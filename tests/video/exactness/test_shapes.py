"""Pictures are shown the way up, and as wide, as their files say; HDR10 and HLG stay what they are."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from hypothesis import strategies as st

from tests.video.exactness.clips import Clip, Tags, write_clip
from tests.video.exactness.facts import display_matrix, ffmpeg, moving_picture
from tests.video.exactness.properties import holds, identity
from tests.video.exactness.strategies import FFV1, MKV_HEVC, MOV, MP4, MP4_HEVC, PRORES, WEBM, Case, Target, sides

TURNS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
MIRRORED = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
ASPECTS = [
    Fraction(1),
    Fraction(4, 3),
    Fraction(8, 9),
    Fraction(64, 45),
    Fraction(1, 2),
    Fraction(1001, 1000),
    Fraction(40, 33),
]
H264_MKV = Target("out.mkv", (("codec", "h264"), ("preset", "ultrafast")))
AV1_MKV = Target("out.mkv", (("codec", "av1"), ("preset", "12")), least=64)


@st.composite
def turned_cases(draw: st.DrawFn) -> Case:
    """Draw a turn, a mirror, an aspect ratio and odd sizes."""
    clip = Clip(
        suffix=draw(st.sampled_from([".mp4", ".mov"])),
        codec="libx264",
        pix_fmt="yuv444p",
        width=draw(sides()),
        height=draw(sides()),
        time_base=Fraction(1, 25),
        pts=(0, 1),
        aspect=draw(st.sampled_from(ASPECTS)),
        matrix=draw(st.sampled_from([*TURNS, *MIRRORED])),
    )
    return Case(clip, draw(st.sampled_from([MP4, MOV, H264_MKV, FFV1, WEBM, PRORES, Target("out")])))


@holds("rotation, mirroring, aspect ratio, odd sizes", turned_cases(), few=10, many=150)
def test_pictures_stay_upright_and_in_shape(case: Case, folder: Path) -> None:
    """The picture is turned in its samples; the aspect ratio stays a tag, within half a pixel of the width."""
    source = write_clip(folder, case.clip, lossless=True)
    out = folder / case.target.name
    identity(source, out, **case.target.arguments)
    first = out / "frame_00001.png" if case.target.name == "out" else out
    height, width = _size(case.clip)
    before, after = _upright(source, height, width), _upright(first, height, width)
    assert np.abs(after - before).max() <= 60  # squares of 30 and 220, through codecs that lose something
    with av.open(str(first)) as container:
        stream = moving_picture(container)
        frame = next(container.decode(stream))
        assert (frame.width, frame.height) == (width, height)
        assert display_matrix(frame) == (1, 0, 0, 1)
        if first == out:
            wanted = case.clip.aspect if case.clip.matrix[0] else 1 / case.clip.aspect
            found = Fraction(stream.sample_aspect_ratio or 1)
            assert abs(found - wanted) * width <= Fraction(1, 2)


def _size(clip: Clip) -> tuple[int, int]:
    return (clip.height, clip.width) if clip.matrix[0] else (clip.width, clip.height)


def _upright(path: Path, height: int, width: int) -> np.ndarray:
    raw = ffmpeg("-i", path, "-map", "0:v:0", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(raw, np.uint8).reshape(height, width).astype(int)


@st.composite
def hdr_cases(draw: st.DrawFn) -> Case:
    """Draw HDR10 with and without its static data, and HLG."""

    def point() -> tuple[int, int]:  # what H.265 allows, and FFmpeg takes for valid
        return draw(st.integers(5, 37_000)), draw(st.integers(5, 42_000))

    transfer = draw(st.sampled_from([16, 18]))
    params = ["lossless=1", "log-level=none", "repeat-headers=1", "hdr10=1"]
    mastering, light = None, None
    if transfer == 16 and draw(st.booleans()):
        points = [point() for _ in range(4)]
        brightest, darkest = draw(st.integers(50_000, 100_000_000)), draw(st.integers(1, 49_999))
        mastering = (*points, brightest, darkest)
        names = "".join(f"{name}({x},{y})" for name, (x, y) in zip(["G", "B", "R", "WP"], points, strict=True))
        params.append(f"master-display={names}L({brightest},{darkest})")
    if transfer == 16 and draw(st.booleans()):
        light = (draw(st.integers(1, 10_000)), draw(st.integers(1, 10_000)))
        params.append(f"max-cll={light[0]},{light[1]}")
    else:
        params.append("cll=0")
    clip = Clip(
        suffix=draw(st.sampled_from([".mkv", ".mp4"])),
        codec="libx265",
        pix_fmt=draw(st.sampled_from(["yuv420p10le", "yuv422p10le", "yuv420p12le"])),
        width=64,
        height=66,
        time_base=Fraction(1, 25),
        pts=(0, 1, 2),
        tags=Tags(9, 1, 9, transfer),
        options=(("x265-params", ":".join(params)),),
    )
    target = draw(st.sampled_from([MP4_HEVC, MKV_HEVC, H264_MKV, AV1_MKV, FFV1, PRORES]))
    return Case(clip, target, {"mastering": mastering, "light": light})


@holds("HDR10 and HLG", hdr_cases(), few=6, many=80)
def test_high_dynamic_range_stays(case: Case, folder: Path) -> None:
    """HEVC, AV1 and H.264 carry the static data of HDR10 to their steps; other codecs say that they do not."""
    source = write_clip(folder, case.clip)
    out = folder / case.target.name
    notes = identity(source, out, **case.target.arguments).notes
    before, after = _dynamic_range(source), _dynamic_range(out)
    assert before["mastering"] == case.extra["mastering"]
    assert before["light"] == case.extra["light"]
    assert after["tags"] == replace(case.clip.tags, range=after["tags"].range)
    assert after["tags"].range in (0, 1)
    assert after["bits"] >= 10
    if case.target in (FFV1, PRORES):
        has_data = case.extra["mastering"] is not None or case.extra["light"] is not None
        assert any("HDR10 data" in note for note in notes) == has_data
        return
    assert after["light"] == before["light"]
    assert (after["mastering"] is None) == (before["mastering"] is None)
    if after["mastering"] is not None:
        assert _distance(before["mastering"], after["mastering"]) <= (2 if case.target == AV1_MKV else 0)


def _dynamic_range(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        frame = next(container.decode(moving_picture(container)))
        tags = Tags(int(frame.colorspace), int(frame.color_range), int(frame.color_primaries), int(frame.color_trc))
        found: dict[str, Any] = {
            "tags": tags,
            "bits": frame.format.components[0].bits,
            "mastering": None,
            "light": None,
        }
        for index in range(len(frame.side_data)):
            data = frame.side_data[index]
            if data.type.name == "MASTERING_DISPLAY_METADATA":
                found["mastering"] = _mastering(bytes(data))
            elif data.type.name == "CONTENT_LIGHT_LEVEL":
                found["light"] = struct.unpack("<2I", bytes(data)[:8])
        return found


def _mastering(data: bytes) -> tuple[Any, ...]:
    """Give green, blue, red and white in steps of 0.00002, and the luminances in steps of 0.0001 cd/m2."""
    values = struct.unpack("<22i", data[:88])
    red, green, blue, white, luminance = (
        tuple(Fraction(values[i + k], values[i + k + 1]) for k in (0, 2)) for i in (0, 4, 8, 12, 16)
    )
    points = [tuple(round(value * 50_000) for value in point) for point in (green, blue, red, white)]
    darkest, brightest = (round(value * 10_000) for value in luminance)
    return (*points, brightest, darkest)


def _distance(before: tuple[Any, ...], after: tuple[Any, ...]) -> int:
    """AV1 counts in other steps (2^-16, 2^-8 and 2^-14), so its luminances are compared by these."""
    points = [abs(a - b) for p, q in zip(before[:4], after[:4], strict=True) for a, b in zip(p, q, strict=True)]
    brightest, darkest = abs(before[4] - after[4]) * 256 / 10_000, abs(before[5] - after[5]) * 16384 / 10_000
    return round(max(*points, brightest, darkest))
