from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from starvsr.video import VideoReader, probe
from starvsr.video.remux import streams as copying
from tests.video.clips import add_sound, make_clip, moving_bars, packets_of, write_sound
from tests.video.exactness.clips import Clip
from tests.video.exactness.companions import Film, Track, write_film
from tests.video.exactness.facts import sound_by_pyav
from tests.video.exactness.strategies import MP4
from tests.video.frames import copy, times

SRT = ["hello", "<i>world</i>"]


def add_text(out: Any, codec: str, language: str) -> Any:
    stream = out.add_stream(codec)
    stream.metadata["language"] = language
    return stream


def rich_clip(path: Path, *, text: str = "subrip", cover: bool = True) -> Path:
    """A Matroska or MP4 file with two sounds, two subtitles, chapters, tags, an attachment and cover art."""
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.metadata["language"] = "eng"
        sounds = [add_sound(out, "aac"), add_sound(out, "ac3")]
        sounds[1].metadata["language"] = "fre"
        sounds[1].metadata["title"] = "Commentary"
        texts = [out.add_mux_stream(text), out.add_mux_stream(text)]
        for stream, language in zip(texts, ("ger", "spa"), strict=True):
            stream.time_base = Fraction(1, 1000)
            stream.metadata["language"] = language
        if path.suffix == ".mkv":
            out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 50)
        if cover and path.suffix == ".mkv":
            out.add_attachment("cover.jpg", "image/jpeg", picture())
        out.metadata.update({"title": "Bars", "comment": "made for a test"})
        out.set_chapters(
            [
                {
                    "id": i,
                    "start": 400 * i,
                    "end": 400 * i + 400,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": t},
                }
                for i, t in enumerate(["Opening", "End"])
            ]
        )
        for index, pixels in enumerate(moving_bars(20)):
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for sound in sounds:
            write_sound(out, sound, 0.8)
        for stream in texts:
            for index, line in enumerate(SRT):
                body = line.encode()
                packet = av.Packet(len(body).to_bytes(2, "big") + body if text == "mov_text" else body)
                packet.pts = packet.dts = 100 + 300 * index
                packet.duration, packet.time_base, packet.stream = 250, Fraction(1, 1000), stream
                out.mux(packet)
    return path


def picture() -> bytes:
    context: Any = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 32, 32, "yuvj420p", Fraction(1)
    frame = av.VideoFrame.from_ndarray(moving_bars(1, 32, 32)[0]).reformat(format="yuvj420p")
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_everything_a_matroska_holds_arrives_or_is_named(tmp_path: Path, suffix: str) -> None:
    source = rich_clip(tmp_path / "in.mkv")
    out = tmp_path / f"out{suffix}"
    writer = copy(source, out)
    assert times(out) == times(source)
    assert [[d for _, d in s] for s in packets_of(out, "audio")] == [
        [d for _, d in s] for s in packets_of(source, "audio")
    ]
    before, after = probe(source), probe(out)
    tags = {key.lower(): value for key, value in after.metadata.items()}
    assert (tags["title"], tags["comment"]) == ("Bars", "made for a test")
    assert [(c.start * c.time_base, c.end * c.time_base, c.metadata["title"]) for c in after.chapters] == [
        (c.start * c.time_base, c.end * c.time_base, c.metadata["title"]) for c in before.chapters
    ]
    kinds = [s.kind for s in after.streams if s.kind != "data"]
    if suffix == ".mkv":
        assert kinds == [s.kind for s in before.streams]
        assert [s.language for s in after.streams] == [s.language for s in before.streams]
        assert packets_of(out, "subtitle") == packets_of(source, "subtitle")
        assert writer.notes == []
        with av.open(str(out)) as container:
            font = container.streams.attachments[0]
            assert font.metadata["filename"] == "font.ttf"
            assert font.data == b"glyphs" * 50
    else:
        assert kinds.count("subtitle") == 2
        assert len([n for n in writer.notes if "is written as timed text" in n]) == 2
        assert len([n for n in writer.notes if "attachment" in n]) == 1
        assert [s.language for s in after.streams if s.kind == "audio"] == [None, "fra" if suffix == ".mov" else "fre"]


def test_subtitles_of_mp4_go_to_mp4(tmp_path: Path) -> None:
    source = rich_clip(tmp_path / "in.mp4", text="mov_text")
    copy(source, tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4", "subtitle") == packets_of(source, "subtitle")
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")


def test_cover_art_of_matroska_goes_to_mp4_and_back(tmp_path: Path) -> None:
    source = rich_clip(tmp_path / "in.mkv")
    copy(source, tmp_path / "mid.mp4")
    assert "cover" in [s.kind for s in probe(tmp_path / "mid.mp4").streams]
    writer = copy(tmp_path / "mid.mp4", tmp_path / "out.mkv")
    assert "cover" in [s.kind for s in probe(tmp_path / "out.mkv").streams], writer.notes
    with av.open(str(tmp_path / "out.mkv")) as container:
        cover = next(s for s in container.streams.video if s.codec_context.name == "mjpeg")
        packet = next(p for p in container.demux(cover) if p.size)
        assert bytes(packet) == picture()


def test_webm_takes_opus_and_names_the_rest(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", audio=["libopus", "aac"], chapters=[(0, 300, "x")])
    writer = copy(source, tmp_path / "out.webm", options=_quick_webm())
    assert [d for _, d in packets_of(tmp_path / "out.webm", "audio")[0]] == [
        d for _, d in packets_of(source, "audio")[0]
    ]
    assert len(packets_of(tmp_path / "out.webm", "audio")) == 1
    assert any("aac" in note and "WebM" in note for note in writer.notes)


def _quick_webm() -> Any:
    from starvsr.video import EncodeOptions

    return EncodeOptions(preset="8")


def test_uncompressed_sound_in_mp4_is_kept_with_a_warning(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.avi", codec="mpeg4", audio=["pcm_s16le"])
    writer = copy(source, tmp_path / "out.mp4")
    one = b"".join(d for _, d in packets_of(source, "audio")[0])
    assert b"".join(d for _, d in packets_of(tmp_path / "out.mp4", "audio")[0]) == one
    assert any("uncompressed sound" in note for note in writer.notes)


def test_sound_before_the_picture_keeps_its_lead(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "in.mp4",
        count=5,
        time_base=Fraction(1, 90000),
        pts=[9001 + 3600 * i for i in range(5)],
        audio=["aac"],
    )
    copy(source, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == times(source)
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")


def test_sound_longer_than_the_picture_is_not_cut(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=3, audio=["aac"], audio_seconds=3)
    copy(source, tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")


def test_free_tags_survive_in_mp4(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", metadata={"title": "t", "MY_OWN_KEY": "value äöü"})
    copy(source, tmp_path / "out.mp4")
    tags = {k.lower(): v for k, v in probe(tmp_path / "out.mp4").metadata.items()}
    assert tags["title"] == "t"
    assert tags["my_own_key"] == "value äöü"


def test_rotated_input_comes_out_upright_without_a_tag(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", rotation=-90)
    copy(source, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.rotation) == (48, 64, 0)


def test_transport_stream_keeps_picture_and_sound_together(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "in.ts",
        count=10,
        time_base=Fraction(1, 90000),
        pts=[900_000 + 3600 * i for i in range(10)],
        audio=["mp2"],
        audio_seconds=0.2,
    )
    copy(source, tmp_path / "out.mp4")
    info = probe(source)
    sound = [(None if t is None else t - info.origin, d) for t, d in packets_of(source, "audio")[0]]
    got = packets_of(tmp_path / "out.mp4", "audio")[0]
    assert [d for _, d in got] == [d for _, d in sound]
    assert all(abs((a or 0) - (b or 0)) < Fraction(1, 40000) for (a, _), (b, _) in zip(got, sound, strict=True))
    assert times(tmp_path / "out.mp4") == times(source)


@pytest.mark.parametrize("what", ["chapters", "timecode"])
def test_chapter_and_timecode_tracks_are_made_anew_not_doubled(tmp_path: Path, what: str) -> None:
    source = make_clip(
        tmp_path / "in.mov",
        metadata={"timecode": "01:00:00:00"} if what == "timecode" else {},
        chapters=[(0, 100, "a"), (100, 320, "b")] if what == "chapters" else [],
    )
    writer = copy(source, tmp_path / "out.mov")
    before, after = probe(source), probe(tmp_path / "out.mov")
    assert [s.kind for s in before.streams] == ["video", "data"]
    assert [s.kind for s in after.streams] == ["video", "data"]
    assert [c.metadata["title"] for c in after.chapters] == (["a", "b"] if what == "chapters" else [])
    with av.open(str(tmp_path / "out.mov")) as container:
        assert container.streams.video[0].metadata.get("timecode") == ("01:00:00:00" if what == "timecode" else None)
    assert writer.notes == []


def film(path: Path, *, sound: str, seconds: float = 0.4, layout: str = "mono", **details: Any) -> Path:
    """A clip of 0.2 s with one stream of sound."""
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        stream = add_sound(out, sound)
        stream.codec_context.layout = layout
        stream.metadata.update(details.get("stream_tags", {}))
        stream.disposition = details.get("disposition", 0)
        out.metadata.update(details.get("metadata", {}))
        if details.get("cover"):
            out.add_attachment("cover.jpg", "image/jpeg", picture())
        for index, pixels in enumerate(moving_bars(5, 32, 32)):
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if layout == "mono":
            write_sound(out, stream, seconds)
        else:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 480), np.int16), format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            out.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def covers(path: Path) -> int:
    return sum(s.kind == "cover" for s in probe(path).streams)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_that_goes_on_for_seconds_is_no_sign_of_a_missing_picture(tmp_path: Path, suffix: str) -> None:
    source = film(tmp_path / f"in{suffix}", sound="aac", seconds=3)
    with VideoReader(source) as reader:
        assert sum(1 for _ in reader) == 5
        reader.check_complete()
        assert reader.notes == []
    assert probe(source).duration == Fraction(1, 5)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_uncompressed_stereo_of_matroska_goes_to_mp4(tmp_path: Path, suffix: str) -> None:
    source = film(tmp_path / "in.mkv", sound="pcm_s16le", layout="stereo")
    copy(source, tmp_path / f"out{suffix}")
    one = b"".join(data for _, data in packets_of(source, "audio")[0])
    assert b"".join(data for _, data in packets_of(tmp_path / f"out{suffix}", "audio")[0]) == one


def test_cover_art_goes_before_free_tags_in_mp4_and_is_named_in_mov(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mkv", sound="aac", cover=True, metadata={"title": "t", "MY_OWN_KEY": "x"})
    mp4 = copy(source, tmp_path / "out.mp4")
    assert covers(tmp_path / "out.mp4") == 1
    assert probe(tmp_path / "out.mp4").metadata["title"] == "t"
    assert [n for n in mp4.notes if "MY_OWN_KEY" in n and "does not keep" in n]
    mov = copy(source, tmp_path / "out.mov")
    assert covers(tmp_path / "out.mov") == 0
    assert [n for n in mov.notes if "QuickTime holds no cover art" in n or "MOV holds no cover art" in n]
    assert probe(tmp_path / "out.mov").metadata["MY_OWN_KEY"] == "x"
    assert not [n for n in mov.notes if "MY_OWN_KEY" in n]


def test_tags_and_marks_that_a_container_drops_are_named(tmp_path: Path) -> None:
    disposition = int(av.stream.Disposition.forced | av.stream.Disposition.original)
    tags = {"language": "ger", "title": "Ton", "my_mark": "7"}
    source = film(tmp_path / "in.mkv", sound="aac", disposition=disposition, stream_tags=tags)
    assert copy(source, tmp_path / "out.mkv").notes == []
    for suffix, lost_tags, lost_marks in ((".mp4", "MY_MARK", "original"), (".mov", "MY_MARK", "forced, original")):
        notes = copy(source, tmp_path / f"out{suffix}").notes
        assert [n for n in notes if "tags of stream 1" in n and n.endswith(f": {lost_tags}")], notes
        assert [n for n in notes if "marks of stream 1" in n and n.endswith(f": {lost_marks}")], notes


def test_the_title_of_a_track_comes_over_from_quicktime(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mov", sound="aac", stream_tags={"title": "Commentary"})
    for suffix in (".mkv", ".mp4", ".mov"):
        copy(source, tmp_path / f"out{suffix}")
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            tags = container.streams.audio[0].metadata
            assert tags.get("title", tags.get("name")) == "Commentary"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_track_title_that_cannot_be_read_back_is_named_and_stops_nothing(tmp_path: Path, suffix: str) -> None:
    source = film(tmp_path / "in.mkv", sound="aac", stream_tags={"title": "\N{DEGREE SIGN}"})
    notes = copy(source, tmp_path / f"out{suffix}").notes
    assert [n for n in notes if "tags of stream 1" in n and n.endswith(": title")], notes


@pytest.mark.parametrize(("suffix", "clock"), [(".mkv", 1000), (".mov", 12800), (".mov", 90000), (".mov", 24000)])
@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_sound_begins_within_a_sample_of_its_time(tmp_path: Path, suffix: str, clock: int, rate: int) -> None:
    track = Track("audio", "pcm_s16le", rate=rate, seconds=0.05, offset=Fraction(731, 1000))
    clip = Clip(
        suffix=suffix, codec="libx264", time_base=Fraction(1, clock), pts=tuple(clock // 25 * i for i in range(3))
    )
    source = write_film(tmp_path, Film(clip, MP4, tracks=(track,)))
    copy(source, tmp_path / "out.mp4")
    before, after = packets_of(source, "audio")[0][0][0], packets_of(tmp_path / "out.mp4", "audio")[0][0][0]
    assert before is not None and after is not None and abs(after - before) <= Fraction(1, rate)


@pytest.mark.parametrize(
    ("source_name", "codec"), [("in.mp4", "aac"), ("in.mov", "aac"), ("in.mp4", "libmp3lame"), ("in.mp4", "libopus")]
)
def test_sound_that_begins_before_0_moves_nothing_in_matroska(tmp_path: Path, source_name: str, codec: str) -> None:
    track = Track("audio", codec, rate=48000 if codec == "libopus" else 44100, tags=(("title", "Ton"),))
    clip = Clip(suffix=source_name[2:], codec="libx264", time_base=Fraction(1, 90000), pts=tuple(range(0, 28800, 3600)))
    source = write_film(tmp_path, Film(clip, MP4, tracks=(track,)))
    writer = copy(source, tmp_path / "out.mkv")
    copy(tmp_path / "out.mkv", tmp_path / "again.mkv")
    before = packets_of(source, "audio")[0]
    assert before[0][0] is not None and before[0][0] < 0
    for name in ("out.mkv", "again.mkv"):
        after = packets_of(tmp_path / name, "audio")[0]
        assert [data for _, data in after] == [data for _, data in before]
        shifts = [abs((a or 0) - (b or 0)) for (a, _), (b, _) in zip(after, before, strict=True)]
        assert max(shifts) <= Fraction(1, 1000)
        assert times(tmp_path / name) == times(source)
        assert sound_by_pyav(tmp_path / name)[: 1 << 14] == sound_by_pyav(source)[: 1 << 14]
    assert writer.notes == []


def test_times_that_matroska_moves_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "leads", lambda source: {})
    source = make_clip(tmp_path / "in.mp4", audio=["aac"])
    writer = copy(source, tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv")[0][0] == Fraction(21, 1000)
    assert [note for note in writer.notes if "21 ms later" in note]
