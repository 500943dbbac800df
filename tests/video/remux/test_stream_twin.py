from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import av
import pytest

from starvsr.video import EncodeOptions, probe
from starvsr.video.remux.stream_twin import first_packets, why_not_copyable
from starvsr.video.write.containers import CONTAINERS, muxer_options
from tests.video.frames import copy
from tests.video.programs import PICTURE, ffmpeg, is_copied_by_ffmpeg, sound_encoders

_SHAPES = ((48000, 2), (8000, 1), (44100, 1))
_OF_FILES_OF_THEIR_OWN = re.compile(
    "adpcm_(adx|argo|ima_(alp|amv|apm|ssi|ws))|g726le|anull|aptx|sbc|roq|pcm_(dvd|vidc|s24daud|bluray)|s302m|dfpwm"
)


def _source(folder: Path, encoder: str) -> Path | None:
    """Code a tone with an encoder, in the first container that takes it, and in the first shape that it takes."""
    for suffix in (".mka", ".mov", ".nut"):
        for rate, channels in _SHAPES:
            path = folder / f"{encoder}{suffix}"
            words = ["-f", "lavfi", "-i", f"sine=440:r={rate}:d=0.3", "-ac", str(channels), "-strict", "-2"]
            try:
                ffmpeg(*words, "-c:a", encoder, path)
            except AssertionError:
                continue
            if path.stat().st_size:
                return path
    return None


def _codec(path: Path) -> str | None:
    with av.open(str(path)) as container:
        context = container.streams[0].codec_context
        return None if context is None else context.codec.canonical_name


def _verdicts(folder: Path, suffix: str, encoder: str) -> tuple[str, bool, bool] | None:
    """Give what FFmpeg's program copies so that it is found again, and what we say."""
    source = _source(folder, encoder)
    if source is None:
        return None
    try:
        codec = _codec(source)
    except av.error.FFmpegError:
        return None
    copied = folder / f"{encoder}-copy{suffix}"
    theirs = is_copied_by_ffmpeg(source, copied) and _is_found(copied, codec)
    with av.open(str(source)) as container, av.open(str(source)) as again:
        packets = partial(first_packets, again, 0)
        ours = why_not_copyable(container.streams[0], CONTAINERS[suffix], muxer_options(suffix), packets) is None
    return encoder, theirs, ours


def _is_found(path: Path, codec: str | None) -> bool:
    try:
        found = _codec(path)
    except (av.error.FFmpegError, IndexError):
        return False
    return found is not None and (found == codec or {found, codec} <= {"mp2", "mp3"})


def _table(folder: Path, suffix: str) -> list[tuple[str, bool, bool]]:
    encoders = [encoder for encoder in sound_encoders() if not _OF_FILES_OF_THEIR_OWN.match(encoder)]
    with ThreadPoolExecutor(2) as pool:
        rows = [row for row in pool.map(partial(_verdicts, folder, suffix), encoders) if row is not None]
    assert len(rows) > 50, encoders
    return rows


def test_matroska_takes_all_sound_that_ffmpeg_copies_into_it(tmp_path: Path) -> None:
    rows = _table(tmp_path, ".mkv")
    assert sum(theirs for _, theirs, _ in rows) > 40
    assert [row for row in rows if row[1] != row[2]] == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".avi", ".ts", ".m2ts"])
def test_containers_take_the_sound_that_ffmpeg_copies_into_them(tmp_path: Path, suffix: str) -> None:
    rows = _table(tmp_path, suffix)
    missing = [encoder for encoder, theirs, ours in rows if theirs and not ours]
    assert missing == []
    # FFmpeg's copy keeps a number of Matroska that MOV does not know; without it, MOV has one that is read back
    more = {encoder for encoder, theirs, ours in rows if ours and not theirs}
    assert more <= ({"g726", "g723_1"} if suffix == ".mov" else set())


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("windows.wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
        ("camera.avi", ("-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-c:a", "adpcm_ima_wav")),
        ("phone.mov", ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "pcm_mulaw", "-ar", "8000")),
        ("law.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "pcm_alaw", "-ar", "8000")),
        ("ms.avi", ("-c:v", "mpeg4", "-c:a", "adpcm_ms")),
    ],
)
def test_unlisted_sound_is_the_same_in_matroska(tmp_path: Path, name: str, coding: tuple[str, ...]) -> None:
    source, out = tmp_path / name, tmp_path / "out.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=440:r=48000:d=1", *coding, source)
    notes = copy(source, out).notes
    assert not any("left out" in note for note in notes), notes
    assert _samples(out) == _samples(source)


def test_wma_that_no_reader_of_mov_could_decode_is_named(tmp_path: Path) -> None:
    source, out = tmp_path / "in.wmv", tmp_path / "out.mov"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=440:r=44100:d=1", "-c:v", "wmv2", "-c:a", "wmav2", source)
    assert any("left out" in note for note in copy(source, out).notes)
    assert [s.codec for s in probe(out).streams] == ["h264"]


def test_sound_that_would_be_bytes_of_no_kind_in_a_transport_stream_is_named(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.ts"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=440:d=1", "-c:v", "libx264", "-c:a", "flac", source)
    notes = copy(source, out).notes
    assert [s.kind for s in probe(out).streams] == ["video"]
    (note,) = [note for note in notes if "left out" in note]
    assert "a transport stream cannot hold it" in note
    assert "--missing-streams convert codes it anew as AAC" in note


def test_truehd_is_no_sound_for_mp4(tmp_path: Path) -> None:
    """FFmpeg's muxer takes it with -strict -2, and nearly no player then finds it."""
    source = tmp_path / "in.mkv"
    sound = ("-f", "lavfi", "-i", "sine=440:r=48000:d=1", "-ac", "2", "-c:a", "truehd", "-strict", "-2")
    ffmpeg(*PICTURE, *sound, "-c:v", "libx264", source)
    (note,) = copy(source, tmp_path / "out.mp4").notes
    assert "(sound, truehd) is left out: hardly a player finds it in MP4" in note
    assert "(.mkv holds it); --missing-streams convert codes it anew as FLAC" in note
    converted = EncodeOptions(preset="ultrafast", missing_streams="convert")
    copy(source, tmp_path / "sound.mp4", options=converted)
    assert _samples(tmp_path / "sound.mp4") == _samples(source)
    assert copy(source, tmp_path / "out.mkv").notes == []
    assert _samples(tmp_path / "out.mkv") == _samples(source)


def test_sound_that_no_one_knows_is_named(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=440:d=1", "-c:v", "libx264", "-c:a", "tta", source)
    source.write_bytes(source.read_bytes().replace(b"A_TTA1", b"A_NONE"))
    assert any("unknown codec) is left out" in note for note in copy(source, out).notes)


def _samples(path: Path) -> bytes:
    return ffmpeg("-i", path, "-map", "0:a:0", "-f", "s16le", "-")
