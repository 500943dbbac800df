"""HDR10 data that is told in part, and what else rides beside the samples."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

import starvsr
from starvsr.video import VideoReader, probe
from starvsr.video.read import side_data
from starvsr.video.read.side_data import color_tags, side_notes
from tests.video.clips import make_clip

COLOURS = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
NO_COLOURS = "G(0,0)B(0,0)R(0,0)WP(0,0)"
LIGHTS = "L(10000000,50)"
CONTEXT = SimpleNamespace(name="hevc", color_primaries=2, color_trc=2)
PARTS = {
    "colours": COLOURS + "L(0,0)",
    "luminances": NO_COLOURS + LIGHTS,
    "dim": COLOURS + "L(40000,50)",  # FFmpeg takes the luminances for invalid
    "all": COLOURS + LIGHTS,
}


def told(path: Path) -> tuple[int, ...] | None:
    """The mastering display as FFmpeg gives it."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        for index in range(len(frame.side_data)):
            if frame.side_data[index].type.name == "MASTERING_DISPLAY_METADATA":
                return struct.unpack("<22i", bytes(frame.side_data[index])[:88])
    return None


def hdr_clip(path: Path, mastering: str) -> Path:
    params = f"log-level=none:repeat-headers=1:cll=0:master-display={mastering}"
    options = {"x265-params": params}
    return make_clip(
        path, count=2, size=(64, 64), codec="libx265", pix_fmt="yuv420p10le", tags=(9, 1, 9, 16), options=options
    )


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize("codec", ["hevc", "h264"])
def test_what_is_told_of_the_mastering_display_is_kept(tmp_path: Path, part: str, codec: str) -> None:
    source, out = hdr_clip(tmp_path / "a.mkv", PARTS[part]), tmp_path / "out.mkv"
    before = told(source)
    assert before is not None and before[20:] == {"all": (1, 1), "luminances": (0, 1)}.get(part, (1, 0))
    result = starvsr.upscale(source, out, model="bicubic", scale=1, codec=codec, preset="ultrafast", threads=1)
    assert told(out) == before
    assert not [note for note in result.notes if "HDR10" in note]


@pytest.mark.parametrize("part", list(PARTS))
def test_av1_takes_it_whole_or_the_loss_is_named(tmp_path: Path, part: str) -> None:
    source, out = hdr_clip(tmp_path / "a.mkv", PARTS[part]), tmp_path / "out.mkv"
    result = starvsr.upscale(source, out, model="bicubic", scale=1, codec="av1", threads=1)
    is_whole = part in ("all", "dim")
    assert (told(out) is not None) == is_whole
    assert any("a part of the mastering display" in note for note in result.notes) == (not is_whole)


def frame(values: dict[int, int], light: tuple[int, int] = (1000, 400)) -> Any:
    """A frame with a mastering display, some of whose ten rationals have other numerators."""
    numbers = [word for index in range(10) for word in (values.get(index, 100), 1000)] + [1, 1]
    data = {
        "MASTERING_DISPLAY_METADATA": struct.pack("<22i", *numbers),
        "CONTENT_LIGHT_LEVEL": struct.pack("<2I", *light),
    }

    class One(bytes):
        type: Any

    parts = []
    for name, content in data.items():
        part = One(content)
        part.type = SimpleNamespace(name=name)
        parts.append(part)
    return SimpleNamespace(
        side_data=parts,
        colorspace=9,
        color_range=1,
        color_primaries=9,
        color_trc=16,
        format=SimpleNamespace(name="yuv420p10le"),
    )


@pytest.mark.parametrize(
    ("values", "kept", "words"),
    [
        ({}, (True, True), None),
        ({3: 1400}, (False, True), "the colours"),
        ({0: -1}, (False, True), "the colours"),
        ({9: 2**31 - 1}, (True, False), "the luminances"),
        ({8: -5}, (True, False), "the luminances"),
    ],
)
def test_values_that_no_codec_has_bits_for_are_named(
    values: dict[int, int], kept: tuple[bool, bool], words: str | None
) -> None:
    one = frame({9: 999, **values})
    mastering = color_tags(one, CONTEXT).mastering
    assert mastering is not None
    assert (any(mastering.red), mastering.max_luminance > 0) == kept
    assert mastering.is_whole == all(kept)
    notes = side_notes(Path("a.mkv"), one, "hevc")
    assert len(notes) == (words is not None) and all(words in note for note in notes if words)


def test_nothing_told_is_nothing() -> None:
    assert color_tags(frame(dict.fromkeys(range(10), 0)), CONTEXT).mastering is None
    assert color_tags(frame({}, light=(1 << 16, 1)), CONTEXT).content_light is None
    assert [n for n in side_notes(Path("a"), frame({}, light=(1 << 16, 1)), "hevc") if "light levels" in n]


def caption() -> bytes:
    """An SEI of H.264 with one pair of closed captions (ATSC A/53)."""
    data = b"\xb5\x00\x31GA94\x03\xc1\xff\xfc\x94\x2c\xff"
    return b"\0\0\0\1\x06\x04" + bytes([len(data)]) + data + b"\x80"


@pytest.mark.parametrize("at", [0, 4])
def test_captions_that_are_lost_are_named_wherever_they_begin(tmp_path: Path, at: int) -> None:
    options = {"g": "1", "bf": "0", "x264-params": "annexb=1:slices=1:threads=1:sliced-threads=0:aud=1"}
    path = make_clip(tmp_path / "a.h264", count=6, options=options)
    pictures = path.read_bytes().split(b"\0\0\0\1\x09")[1:]  # an access unit delimiter begins each
    assert len(pictures) == 6
    pictures = [
        b"\0\0\0\1\x09" + data[:1] + (caption() if i >= at else b"") + data[1:] for i, data in enumerate(pictures)
    ]
    path.write_bytes(b"".join(pictures))
    assert bool([note for note in probe(path).notes if "closed captions" in note]) == (at == 0)
    with VideoReader(path) as reader:
        assert sum(1 for _ in reader) == 6
    assert len([note for note in reader.notes if "closed captions" in note]) == 1


def test_every_kind_of_side_data_is_kept_named_or_knowingly_left() -> None:
    """A kind that a new PyAV knows belongs into one of the three lists."""
    lists = (side_data.KEPT_SIDE_DATA, side_data.SILENT_SIDE_DATA, frozenset(side_data.LOST_SIDE_DATA))
    known = {kind.name for kind in av.sidedata.sidedata.Type}
    assert not known - frozenset.union(*lists)
    assert sum(map(len, lists)) == len(frozenset.union(*lists))


@pytest.mark.parametrize("kind", sorted(side_data.LOST_SIDE_DATA))
def test_what_is_lost_is_named(kind: str) -> None:
    data = SimpleNamespace(type=SimpleNamespace(name=kind))
    words = side_data.LOST_SIDE_DATA[kind]
    found = [type("Data", (bytes,), {"type": data.type})(b"\0" * 32)]
    assert [note for note in side_notes(Path("a"), SimpleNamespace(side_data=found), "hevc") if words in note]


def test_kinds_that_pyav_does_not_know_are_named_by_number() -> None:
    class Frame:
        rotation = 0

        @property
        def side_data(self) -> Any:
            raise ValueError("29 is not a valid Type")

    assert [note for note in side_notes(Path("a"), Frame(), "hevc") if "second view" in note]
    assert av.sidedata.sidedata.Type.VIDEO_HINT.value == 27  # the number before those
    assert not side_notes(Path("a"), Frame(), "png")  # is not asked


def test_signatures_of_encoders_are_no_loss(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", count=3)  # x264 signs it
    assert not [note for note in probe(tmp_path / "a.mp4").notes if "SEI" in note]
