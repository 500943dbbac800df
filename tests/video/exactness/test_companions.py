"""Sound, subtitles, chapters, attachments, cover art and tags arrive as they were, or are named."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av

from tests.video.exactness.companions import Film, cover, films, films_without_lengths, write_film
from tests.video.exactness.facts import (
    Copied,
    attachments,
    chapters,
    container_tags,
    copied_streams,
    ffmpeg,
    shown_by_ffmpeg,
    shown_by_pyav,
    sound_by_pyav,
)
from tests.video.exactness.properties import holds, identity

HELD = {
    "mp4": {"aac", "ac3", "mp3float", "flac", "opus", "alac", "mov_text", "pcm_s16le", "pcm_s24le"},
    "mov": {"aac", "ac3", "mp3float", "alac", "pcm_s16le", "pcm_s24le", "mov_text"},
    "webm": {"opus", "webvtt"},
}
WORDS = {"subrip", "srt", "ass", "ssa", "webvtt", "mov_text"}
TEXT = {"mkv": ("srt", "subrip"), "mp4": ("mov_text",), "mov": ("mov_text",), "webm": ("webvtt",)}
MKV_MARKS = {"default", "forced", "comment", "hearing_impaired", "visual_impaired", "original", "dub"}
MOV_KNOWS = {None, "eng", "fre", "ger", "jpn", "spa", "chi"}


@holds("sound, subtitles, chapters, attachments, tags", films(), few=12, many=200)
def test_companions_arrive_or_are_named(film: Film, folder: Path) -> None:
    source = write_film(folder, film)
    out = folder / film.target.name
    notes = identity(source, out, **film.target.arguments).notes
    origin = _origin(source) if film.clip.suffix == ".ts" else Fraction(0)
    kind = out.suffix[1:]
    for what in ("audio", "subtitle"):
        before, after = copied_streams(source, what), copied_streams(out, what)
        held = [s for s in before if _is_copied(s, kind) or s.codec in WORDS]
        assert len(after) == len(held)
        assert len([n for n in notes if "is left out" in n and _word(what) in n]) == len(before) - len(held)
        for one, other in zip(held, after, strict=True):
            if _is_copied(one, kind):
                _same_stream(one, other, origin, kind, notes)
            else:
                _same_words(one, other, kind, notes)
    before_chapters = chapters(source)
    assert len(before_chapters) == len(film.chapters)
    if kind != "webm":
        _same_chapters(before_chapters, chapters(out), kind)
    elif film.chapters:
        assert any("chapters are left out" in note for note in notes)
    if kind == "mkv":
        assert attachments(out) == [(name, mime, data) for name, mime, data in film.files]
    else:
        assert len([n for n in notes if "attachment) is left out" in n]) == len(film.files)
    _same_cover(film, out, notes)
    _same_tags(film, source, out, notes)
    assert shown_by_pyav(out).numbers == shown_by_pyav(source).numbers
    shown_by_ffmpeg(out, folder)
    _decodes_alike(source, out, film)


@holds("sound whose packets have no lengths", films_without_lengths(), few=6, many=60)
def test_sound_without_lengths_is_decoded_to_its_end(film: Film, folder: Path) -> None:
    source, out = write_film(folder, film), folder / film.target.name
    notes = identity(source, out, **film.target.arguments).notes
    (before,), (after,) = copied_streams(source, "audio"), copied_streams(out, "audio")
    _same_stream(before, after, Fraction(0), out.suffix[1:], notes)
    assert sound_by_pyav(out) == sound_by_pyav(source)
    if not film.tracks[0].offset:  # FFmpeg 9 takes an empty edit off the end of a single packet, of its own files too
        assert _samples(out) == _samples(source)


def _samples(path: Path) -> bytes:
    """All sound that FFmpeg decodes, without what lies before it and in its gaps."""
    return ffmpeg("-i", path, "-map", "0:a:0", "-f", "s32le", "-")


def _is_copied(stream: Copied, kind: str) -> bool:
    return (kind == "mkv" and stream.codec != "mov_text") or stream.codec in HELD.get(kind, ())


def _same_words(one: Copied, other: Copied, kind: str, notes: tuple[str, ...]) -> None:
    """Text of another kind: what appears at a time appears there still, and is named."""
    assert other.codec in TEXT[kind]
    assert any(f"stream {one.index} (subtitles" in note and "is written as" in note for note in notes)
    shown = dict(zip(other.times, other.content, strict=True))
    for number, time in enumerate(one.times):
        assert f"line {number}".encode() in shown[time], (number, time, shown)
    assert _language(other.tags) == _language(one.tags) or one.tags.get("language") not in MOV_KNOWS


def _same_stream(one: Copied, other: Copied, origin: Fraction, kind: str, notes: tuple[str, ...]) -> None:
    assert other.codec == one.codec
    if one.codec.startswith("pcm_") and kind in ("mp4", "mov"):  # stored without borders between packets
        assert b"".join(other.content) == b"".join(one.content)
        assert abs(other.times[0] - one.times[0] + origin) <= max(one.tick, other.tick)
    else:
        wanted = [_without_adts(data) for data in one.content] if one.codec == "aac" else one.content
        assert other.content == wanted
        worst = max(abs(a - b + origin) for a, b in zip(other.times, one.times, strict=True))
        # A time that a coarse clock rounded lies up to half its tick from the sample that it stands for; MP4 and MOV
        # count samples, and get that sample's time, as FFmpeg's own copy gives it (test_clocks compares with that).
        rounded = one.tick / 2 if one.tick > other.tick and kind in ("mp4", "mov") else 0
        assert worst <= other.tick + rounded, f"{float(worst)} s"
    lost = next((n for n in notes if f"tags of stream {one.index} " in n), "")
    _same_or_named(one.tags, other.tags, lost)
    if kind in ("mkv", "mp4") or one.tags.get("language") in MOV_KNOWS:
        assert _language(other.tags) == _language(one.tags)
    if kind == "mkv" or one.tags.get("title", "").isascii():  # FFmpeg takes the titles of MP4 and MOV for MacRoman
        assert other.tags.get("title") == one.tags.get("title")
    lost = next((n for n in notes if f"marks of stream {one.index} " in n), "")
    before, after = _marks(one), _marks(other)
    assert before - after == {mark for mark in before if mark in lost.split(": ")[-1].split(", ")}
    assert kind != "mkv" or after == before & MKV_MARKS
    assert after - before <= {
        "default",
        "captions",
        "descriptions",
    }  # MP4 has one word for two marks, and a first track


def _without_adts(data: bytes) -> bytes:
    """Take off the header that transport streams put before each packet of AAC."""
    if data[:1] != b"\xff" or data[1] & 0xF6 != 0xF0:
        return data
    return data[7 if data[1] & 1 else 9 :]


def _language(tags: Mapping[str, str]) -> str:
    """FFmpeg's readers know the two codes of a language; "und" says none."""
    language = tags.get("language", "und")
    return {"fra": "fre", "deu": "ger", "zho": "chi"}.get(language, language)


def _same_or_named(before: Mapping[str, str], after: Mapping[str, str], note: str) -> None:
    """Every tag is as it was, or its name stands in the note."""
    for key, value in before.items():
        is_same = _language(before) == _language(after) if key == "language" else after.get(key) == value
        assert is_same != (key in note.lower().split(": ")[-1].split(", ")), key


def _marks(stream: Copied) -> set[str]:
    return {flag.name for flag in av.stream.Disposition if flag & stream.disposition and flag.name}


def _same_chapters(before: list, after: list, kind: str) -> None:
    assert len(after) == len(before)
    for (start, end, tags), (start_after, end_after, tags_after) in zip(before, after, strict=True):
        assert abs(start_after - start) <= Fraction(1, 1000)
        assert abs(end_after - end) <= Fraction(1, 1000)
        assert tags_after == tags


def _same_cover(film: Film, out: Path, notes: tuple[str, ...]) -> None:
    found = [content for stream in copied_streams(out, "cover") for content in stream.content]
    if film.cover and out.suffix in (".mkv", ".mp4"):
        assert found == [cover(film.cover)]
    else:
        assert found == []
        assert any("cover art" in note for note in notes) == bool(film.cover)


def _same_tags(film: Film, source: Path, out: Path, notes: tuple[str, ...]) -> None:
    before, after = container_tags(source), container_tags(out)
    if "comment" not in before:
        after.pop("comment", None)  # how the output was made
    _same_or_named(before, after, next((n for n in notes if "tags that this container" in n), ""))
    assert after.keys() <= before.keys()
    assert after == before or out.suffix == ".webm" or (film.cover and out.suffix == ".mp4")


def _decodes_alike(source: Path, out: Path, film: Film) -> None:
    for number in range(len(copied_streams(out, "audio"))):
        ffmpeg("-i", out, "-map", f"0:a:{number}", "-f", "null", "-")


def _origin(source: Path) -> Fraction:
    times = list(shown_by_pyav(source).times)
    times += [time for stream in copied_streams(source, "audio") for time in stream.times]
    return min(times)


def _word(kind: str) -> str:
    return {"audio": "(sound", "subtitle": "(subtitles"}[kind]
