from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from starvsr.video import EncodeOptions, probe
from tests.video.frames import copy
from tests.video.programs import PICTURE, cues, ffmpeg

SRT = """1
00:00:00,100 --> 00:00:00,400
Hello <i>there</i>

2
00:00:00,400 --> 00:00:00,700
two
lines & <b>bold</b>

3
00:00:00,800 --> 00:00:00,950
Ende: äöü 日本
"""
WORDS = [
    (100, 400, "Hello <i>there</i>"),
    (400, 700, "two\nlines & <b>bold</b>"),
    (800, 950, "Ende: äöü 日本"),
]
ASS = """[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.10,0:00:00.60,Default,,0,0,0,,first
Dialogue: 0,0:00:00.30,0:00:00.80,Default,,0,0,0,,{\\pos(10,10)}second
Dialogue: 0,0:00:00.85,0:00:00.95,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}
"""


def film(folder: Path, suffix: str, text: str, codec: str, *words: str) -> Path:
    """A second of picture with a track of text."""
    kind = "ass" if text is ASS else "srt"
    (folder / f"text.{kind}").write_text(text, encoding="utf-8")
    path = folder / f"in{suffix}"
    ffmpeg(*PICTURE, "-i", folder / f"text.{kind}", "-c:v", _codec(suffix), "-c:s", codec, *words, path)
    return path


def _codec(suffix: str) -> str:
    return "libvpx" if suffix == ".webm" else "libx264"


def _options(suffix: str) -> EncodeOptions:
    return EncodeOptions(preset="8" if suffix == ".webm" else "ultrafast")


@pytest.mark.parametrize(
    ("source", "codec", "target", "kind"),
    [
        (".mkv", "srt", ".mp4", "mov_text"),
        (".mkv", "srt", ".mov", "mov_text"),
        (".mkv", "srt", ".webm", "webvtt"),
        (".mkv", "webvtt", ".mp4", "mov_text"),
        (".mkv", "ass", ".mp4", "mov_text"),
        (".mp4", "mov_text", ".mkv", "srt"),
        (".mp4", "mov_text", ".webm", "webvtt"),
        (".mov", "mov_text", ".mkv", "srt"),
        (".webm", "webvtt", ".mp4", "mov_text"),
    ],
)
def test_text_becomes_the_containers_own(tmp_path: Path, source: str, codec: str, target: str, kind: str) -> None:
    marks = ("-metadata:s:s:0", "language=ger", "-metadata:s:s:0", "title=Worte", "-disposition:s:0", "forced")
    path, out = film(tmp_path, source, SRT, codec, *marks), tmp_path / f"out{target}"
    notes = copy(path, out, options=_options(target)).notes
    (track,) = [stream for stream in probe(out).streams if stream.kind == "subtitle"]
    assert track.codec in (kind, "subrip" if kind == "srt" else kind)
    assert cues(out) == cues(path) == WORDS
    assert track.language == "ger"
    assert any("is written as" in note for note in notes)
    assert not any("left out" in note for note in notes)


def test_cues_that_overlap_are_shown_together_in_timed_text(tmp_path: Path) -> None:
    path, out = film(tmp_path, ".mkv", ASS, "ass"), tmp_path / "out.mp4"
    notes = copy(path, out).notes
    assert cues(out) == [(100, 300, "first"), (300, 600, "first\nsecond"), (600, 800, "second")]
    assert any("places and effects are not" in note for note in notes)


def test_text_that_matroska_holds_stays_as_it_is(tmp_path: Path) -> None:
    path, out = film(tmp_path, ".mkv", ASS, "ass"), tmp_path / "out.mkv"
    assert copy(path, out).notes == []
    assert [s.codec for s in probe(out).streams] == [s.codec for s in probe(path).streams]


def test_text_of_a_part_is_cut(tmp_path: Path) -> None:
    path, out = film(tmp_path, ".mkv", SRT, "srt"), tmp_path / "out.mp4"
    copy(path, out, start=Fraction(1, 5), duration=Fraction(2, 5))
    assert cues(out) == [(0, 200, "Hello <i>there</i>"), (200, 500, "two\nlines & <b>bold</b>")]


@pytest.mark.parametrize("target", [".avi", ".ts"])
def test_text_is_named_where_no_container_has_any(tmp_path: Path, target: str) -> None:
    path, out = film(tmp_path, ".mkv", SRT, "srt"), tmp_path / f"out{target}"
    notes = copy(path, out, options=EncodeOptions()).notes
    assert [s.kind for s in probe(out).streams] == ["video"]
    assert any("(subtitles, " in note and "is left out" in note for note in notes)


@pytest.mark.parametrize(("codec", "held"), [("dvdsub", (".mkv", ".mp4")), ("dvbsub", (".mkv", ".ts"))])
def test_pictures_of_text_are_copied_where_they_fit(tmp_path: Path, codec: str, held: tuple[str, ...]) -> None:
    path = _bitmap_film(tmp_path, codec)
    for target in (".mkv", ".mp4", ".webm", ".avi", ".ts"):
        out = tmp_path / f"out{target}"
        notes = copy(path, out, options=EncodeOptions()).notes
        kinds = [s.kind for s in probe(out).streams]
        assert ("subtitle" in kinds) == (target in held), (target, notes)
        assert any("left out" in note for note in notes) == (target not in held)


def _bitmap_film(folder: Path, codec: str) -> Path:
    """Pictures of text, which FFmpeg's program makes of other pictures of text alone: so one is made by hand."""
    path = folder / "in.mkv"
    plain = folder / "plain.mkv"
    ffmpeg(*PICTURE, "-c:v", "libx264", plain)
    with av.open(str(folder / "text.mkv"), "w") as out:
        text = out.add_mux_stream({"dvdsub": "dvd_subtitle", "dvbsub": "dvb_subtitle"}[codec])
        text.time_base = Fraction(1, 1000)
        packet = av.Packet(bytes([0, 10, 0, 4, 0xFF, 0, 0, 0, 0, 0]))
        packet.pts = packet.dts = 200
        packet.duration, packet.time_base, packet.stream = 300, text.time_base, text
        out.mux(packet)
    ffmpeg("-i", plain, "-i", folder / "text.mkv", "-map", "0", "-map", "1", "-c", "copy", path)
    return path
