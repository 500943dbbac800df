"""What fuzzing has found, each with a file or a stand-in of its own."""

from __future__ import annotations

import errno
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

import starvsr
from benchmarks.reliability import fuzz_bombs
from benchmarks.reliability.fuzz_inputs import NUM_FRAMES, make_seeds
from starvsr.errors import OutputError
from starvsr.video import VideoReader, probe
from starvsr.video.read import completeness
from starvsr.video.read import decode as pictures
from starvsr.video.read.completeness import find_missing_part
from starvsr.video.read.matroska_faults import find_fault
from starvsr.video.read.opening import open_input
from starvsr.video.remux import streams as copying
from starvsr.video.write.container import FileSink
from tests.video.clips import add_sound, make_clip, packets_of, write_sound
from tests.video.frames import copy


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


class Unseekable:
    """A container in which every jump fails, as in damaged indexes."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.jumps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def __enter__(self) -> Unseekable:
        return self

    def __exit__(self, *reason: object) -> None:
        self.container.close()

    def seek(self, *place: object, **how: object) -> None:
        self.jumps += 1
        raise av.error.InvalidDataError(errno.EINVAL, "no jump")


@pytest.fixture
def jumps_fail(monkeypatch: pytest.MonkeyPatch) -> list[Unseekable]:
    opened: list[Unseekable] = []

    def unseekable(path: Path, **arguments: Any) -> Any:
        opened.append(Unseekable(open_input(path, **arguments)))
        return opened[-1]

    for module in (completeness, copying, pictures):
        monkeypatch.setattr(module, "open_input", unseekable)
    return opened


def jumps(opened: list[Unseekable]) -> list[int]:
    return sorted(one.jumps for one in opened if one.jumps)


# ---- jumps


def test_the_end_of_a_file_is_found_without_jumps(tmp_path: Path, jumps_fail: list[Unseekable]) -> None:
    path = make_clip(tmp_path / "a.mkv", count=100)
    info = probe(path)
    assert find_missing_part(info) is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    missing = find_missing_part(info)
    assert missing is not None and missing.startswith("it promises 4.00 s")
    assert jumps(jumps_fail) == [2, 2]


def test_sound_of_a_part_is_copied_without_jumps(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source = make_clip(tmp_path / "a.mkv", count=320, size=(16, 16), audio=["pcm_s16le"], audio_seconds=12.8)
    copy(source, tmp_path / "jumped.mkv", start=12)
    opened = request.getfixturevalue("jumps_fail")
    copy(source, tmp_path / "walked.mkv", start=12)
    assert 2 in jumps(opened)
    for kind in ("audio", "video"):
        found = packets_of(tmp_path / "walked.mkv", kind)
        assert found == packets_of(tmp_path / "jumped.mkv", kind) and len(found[0]) > 15


def test_frames_behind_a_start_are_read_without_jumps(tmp_path: Path, jumps_fail: list[Unseekable]) -> None:
    path = make_clip(tmp_path / "a.mp4", count=20)
    with VideoReader(path, start=12 * probe(path).time_base * 512) as frames:
        times = [frame.pts for frame in frames]
    assert len(times) == 8
    assert 1 in jumps(jumps_fail)


# ---- sound


def spoiled_aac(path: Path) -> Path:
    """A NUT with three pictures and AAC in ADTS, one of whose last headers is none."""
    clip = make_clip(path.with_name("picture.mp4"), count=3)
    with av.open(str(path.with_name("sound.aac")), "w", format="adts") as out:
        stream = add_sound(out, "aac")
        write_sound(out, stream, 0.5)
    with (
        av.open(str(clip)) as pictures,
        av.open(str(path.with_name("sound.aac"))) as sounds,
        av.open(str(path), "w", format="nut") as out,
    ):
        video = out.add_stream_from_template(pictures.streams.video[0], opaque=True)
        audio = out.add_stream_from_template(sounds.streams.audio[0], opaque=True)
        packets = [packet for packet in sounds.demux() if packet.size]
        for packet in pictures.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for packet in packets:
            data = bytes(packet)
            twin = av.Packet(b"\xff" * 7 + data[7:] if packet is packets[-2] else data)
            twin.pts = twin.dts = packet.pts
            twin.time_base, twin.duration, twin.stream = packet.time_base, packet.duration, audio
            out.mux(twin)
    return path


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_damaged_sound_that_a_container_refuses_at_the_end_is_left_out_and_told(tmp_path: Path, name: str) -> None:
    source = spoiled_aac(tmp_path / "a.nut")
    result = starvsr.upscale(source, tmp_path / name, model="bicubic", scale=1, threads=1)
    before, after = packets_of(source, "audio")[0], packets_of(tmp_path / name, "audio")[0]
    assert [data for _, data in after] == [data[7:] for _, data in before[:-2]] + [before[-1][1][7:]]
    assert [n for n in result.notes if "1 damaged packets" in n and "stream 1" in n and "left out" in n]


def test_what_mp4_refuses_at_the_end_is_an_ordinary_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sink: FileSink) -> None:
        raise av.error.InvalidDataError(errno.EINVAL, "no end")

    monkeypatch.setattr(FileSink, "write_end", refuse)
    source = make_clip(tmp_path / "a.mp4")
    for name in ("out.mp4", "out.mkv"):
        with pytest.raises(OutputError, match=rf"{name}: could not be written \(no end\); try another container"):
            starvsr.upscale(source, tmp_path / name, model="bicubic", scale=1, threads=1)
        assert not (tmp_path / name).exists()


# ---- Matroska whose sizes do not fit


def test_a_first_frame_before_the_beginning_of_time_loses_nothing(tmp_path: Path, seeds: dict[str, bytes]) -> None:
    path = fuzz_bombs.write(tmp_path, "a first frame before the beginning of time", seeds)
    with VideoReader(path) as frames:
        assert sum(1 for _ in frames) == NUM_FRAMES
    assert [note for note in frames.notes if "timestamps do not increase" in note] == frames.notes


def test_frames_that_ffmpeg_passes_over_are_told(tmp_path: Path, seeds: dict[str, bytes]) -> None:
    path = fuzz_bombs.write(tmp_path, "a cluster that is smaller than its blocks", seeds)
    with av.open(str(path)) as container:  # else there is nothing to tell
        assert sum(1 for _ in container.decode(video=0)) == NUM_FRAMES - 1
    place = find_fault(path, 10_000)
    assert place is not None and path.read_bytes()[place : place + 1] == b"\xa3"  # a block
    for isolate in (False, True):
        result = starvsr.upscale(
            path, tmp_path / f"{isolate}.mkv", model="bicubic", scale=1, threads=1, isolate=isolate
        )
        assert [n for n in result.notes if f"small.mkv: damaged at byte {place}" in n and "may be missing" in n]


@pytest.mark.parametrize("flags", [{}, {"live": "1"}, {"cluster_time_limit": "80"}, {"reserve_index_space": "4096"}])
@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_whole_files_have_no_fault(tmp_path: Path, name: str, flags: dict[str, str]) -> None:
    kind = ("libvpx", "libopus") if name == "a.webm" else ("libx264", "aac")
    path = make_clip(tmp_path / name, codec=kind[0], audio=[kind[1]], container_options=flags, metadata={"title": "x"})
    assert find_fault(path, 10_000) is None
    with VideoReader(path) as frames:
        assert sum(1 for _ in frames) == 8
    assert frames.notes == []


def test_every_size_that_is_too_large_or_too_small_is_a_fault(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", count=4, codec="ffv1", pix_fmt="yuv420p")
    data = path.read_bytes()
    cluster = data.rindex(b"\x1f\x43\xb6\x75")
    block = data.index(b"\xa3", cluster + 15)
    for place in (cluster + 5, block + 2):  # the lower byte of each size
        for change in (-1, 1):
            spoiled = bytearray(data)
            spoiled[place] = (spoiled[place] + change) % 256
            path.write_bytes(spoiled)
            assert find_fault(path, 10_000) is not None


def test_other_files_and_long_ones_are_left_alone(tmp_path: Path, seeds: dict[str, bytes]) -> None:
    for name, data in seeds.items():
        (tmp_path / name).write_bytes(data)
        assert find_fault(tmp_path / name, 10_000) is None, name
    path = fuzz_bombs.write(tmp_path, "a cluster that is smaller than its blocks", seeds)
    assert find_fault(path, 5) is None


def test_a_duration_of_less_than_a_frame_promises_one_frame(tmp_path: Path) -> None:
    info = replace(probe(make_clip(tmp_path / "a.mkv", count=1)), num_frames=None)
    for duration, frames in ((Fraction(1, 10**6), 1), (Fraction(0), None), (Fraction(-3), None), (Fraction(2), 50)):
        assert replace(info, duration=duration).estimated_frames == frames


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.webm"])
def test_an_absurd_shape_of_pixels_is_none(tmp_path: Path, seeds: dict[str, bytes], name: str) -> None:
    path = fuzz_bombs.write(tmp_path, "picture shape of two billion to one", seeds)
    assert probe(path).sample_aspect_ratio == 1
    codec = "h264" if name == "out.mp4" else "vp9"
    assert starvsr.upscale(path, tmp_path / name, model="bicubic", scale=1, codec=codec, threads=1).num_frames == 6


def test_ordinary_shapes_of_pixels_are_kept(tmp_path: Path) -> None:
    for aspect in (Fraction(4, 3), Fraction(40, 33), Fraction(12345, 6789), Fraction(1, 3)):
        assert probe(make_clip(tmp_path / "a.mp4", aspect=aspect)).sample_aspect_ratio == aspect


@pytest.mark.parametrize("name", ["a.gif", "a.apng"])
def test_damage_behind_the_first_frame_is_left_for_the_reader_to_tell(
    tmp_path: Path, seeds: dict[str, bytes], name: str
) -> None:
    data = bytearray(seeds[name])
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / name).write_bytes(data)
    assert probe(tmp_path / name).width == 64
