"""Standard input and standard output: the pixels of the file route, frames that are whole, errors that are told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

import starvsr
from starvsr.apps.cli import main
from starvsr.apps.piping.prepare import prepare_piped
from starvsr.apps.piping.run import run_piped
from starvsr.engine.traits import Traits
from starvsr.families.options import UpscaleOptions
from starvsr.video import SceneDetector, VideoReader, probe
from starvsr.video.pipes.descriptor import DescriptorReader, DescriptorWriter
from tests.apps.commands import QUICK
from tests.apps.piped import run_piped_command
from tests.support.doubles import DriftingUpscaler
from tests.video.programs import ffmpeg

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")

FRAMES = ("-f", "rawvideo", "-")
TWO_SHOTS = "testsrc2=size=320x8:rate=25:duration=0.48[a];rgbtestsrc=size=320x8:rate=25:duration=0.36[b];[a][b]concat"


def _y4m(*words: str, source: str = "testsrc2=size=24x16:rate=25:duration=0.4") -> bytes:
    return ffmpeg("-f", "lavfi", "-i", source, *words, "-strict", "-1", "-f", "yuv4mpegpipe", "-")


def _starts_of_shots(clip: Path) -> list[int]:
    detector = SceneDetector()
    with VideoReader(clip) as reader:
        return [frame.index for frame in reader if detector.is_cut(frame.pixels)]


def heard_at(path: Path) -> float:
    """Seconds at which the first packet of sound begins, as FFmpeg's program has it."""
    lines = ffmpeg("-copyts", "-i", path, "-map", "0:a", "-c", "copy", "-f", "framecrc", "-").decode().splitlines()
    base = next(line.split()[-1] for line in lines if line.startswith("#tb"))
    first = next(line for line in lines if not line.startswith("#"))
    return int(first.split(",")[2]) * float(Fraction(base))


@pytest.fixture(scope="module")
def y4m() -> bytes:
    return _y4m("-pix_fmt", "yuv420p")


def _frames(data: bytes, tmp_path: Path, pixel_format: str, suffix: str = "y4m") -> bytes:
    """Decode by FFmpeg's program."""
    place = tmp_path / f"judged.{suffix}"
    place.write_bytes(data)
    return ffmpeg("-i", place, "-pix_fmt", pixel_format, *FRAMES)


@pytest.mark.parametrize("isolate", [False, True])
def test_the_pixels_are_those_of_the_file_route(isolate: bool, tmp_path: Path) -> None:
    """Over a scene cut and many segments, by a model whose result depends on where its segments lie."""
    data, clip = _y4m("-pix_fmt", "yuv420p", source=TWO_SHOTS), tmp_path / "in.y4m"
    clip.write_bytes(data)
    model = DriftingUpscaler(traits=Traits(accepts=frozenset(), overlap=3, crossfade=2))
    options = UpscaleOptions(segment=4, threads=1, isolate=isolate)
    file_options = {"codec": "ffv1", "pixel_format": "yuv420p"}
    starvsr.upscale(clip, tmp_path / "out.mkv", options, upscaler=model, **file_options)
    notes: list[str] = []
    with clip.open("rb") as source, (tmp_path / "out.y4m").open("wb") as target:
        piped = prepare_piped(DescriptorReader(source.fileno()), "y4m", options, upscaler=model, note=notes.append)
        result = run_piped(piped, DescriptorWriter(target.fileno()), note=notes.append)
    expected = ffmpeg("-i", tmp_path / "out.mkv", *FRAMES)
    assert len(expected) == 21 * 1280 * 32 * 3 // 2 and result.num_frames == 21 and not notes
    assert _starts_of_shots(clip) == [12]
    assert ffmpeg("-i", tmp_path / "out.y4m", *FRAMES) == expected


def test_a_pipeline_of_the_shell(tmp_path: Path) -> None:
    program, starvsr_ = imageio_ffmpeg.get_ffmpeg_exe(), f"{sys.executable} -m starvsr upscale - -o - {' '.join(QUICK)}"
    source = f"{program} -v error -f lavfi -i testsrc2=size=24x16:rate=25:duration=0.4 -f nut -c:v ffv1 -"
    line = f"set -o pipefail; {source} | {starvsr_} | {program} -v error -i - -c:v ffv1 out.mkv"
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert probe(tmp_path / "out.mkv").width == 96 and [p.name for p in tmp_path.iterdir()] == ["out.mkv"]


@pytest.mark.skipif(shutil.which("vspipe") is None, reason="VapourSynth's vspipe is not on the path")
def test_a_script_of_vapoursynth_through_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "script.vpy").write_text(
        "from vapoursynth import core, YUV420P8\n"
        "parts = [core.std.BlankClip(width=12, height=16, format=YUV420P8, length=5, color=[60 * n, 120, 40 * n],\n"
        "    fpsnum=24000, fpsden=1001) for n in (1, 3)]\n"
        "shot = core.std.StackHorizontal(parts)\n"
        "core.std.Splice([shot, shot.std.FlipHorizontal()]).set_output()\n"
    )
    program, words = imageio_ffmpeg.get_ffmpeg_exe(), " ".join(QUICK)
    upscale = f"{sys.executable} -m starvsr upscale"
    line = (
        f"set -o pipefail; vspipe -c y4m script.vpy direct.y4m && {upscale} direct.y4m -o - {words} > wanted.y4m && "
        f"vspipe -c y4m script.vpy - | {upscale} - -o - {words} | {program} -v error -i - -c:v ffv1 out.mkv"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    info = probe(tmp_path / "out.mkv")
    assert (info.width, info.height, info.frame_rate) == (96, 64, Fraction(24000, 1001))
    made = ffmpeg("-i", tmp_path / "out.mkv", *FRAMES)
    assert len(made) == 10 * 96 * 64 * 3 // 2 and made == ffmpeg("-i", tmp_path / "wanted.y4m", *FRAMES)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p12le", "yuv444p16le"])
@pytest.mark.parametrize("full", [False, True])
def test_the_format_of_the_input_is_kept(pixel_format: str, full: bool, tmp_path: Path, capsys) -> None:
    words = ("-pix_fmt", pixel_format, "-color_range", "pc" if full else "tv")
    source = "testsrc2=size=320x8:rate=30000/1001:duration=0.1,setsar=4/3"
    data = _y4m(*words, source=source)
    piped = run_piped_command(["upscale", "-", "-o", "-", *QUICK], data, capsys)
    assert piped.code == 0, piped.err
    header, theirs = piped.out.split(b"\n")[0], data.split(b"\n")[0]
    for field in (b"F30000:1001", b"Ip", b"A4:3", b"XCOLORRANGE=" + (b"FULL" if full else b"LIMITED")):
        assert field in header and field in theirs
    assert header.split(b" C")[1].split()[0] == theirs.split(b" C")[1].split()[0] and b"W1280 H32 " in header
    clip = tmp_path / "in.y4m"
    clip.write_bytes(data)
    starvsr.upscale(clip, tmp_path / "out.mkv", codec="ffv1", pixel_format=pixel_format, model="bicubic", threads=1)
    assert _frames(piped.out, tmp_path, pixel_format) == ffmpeg("-i", tmp_path / "out.mkv", *FRAMES)


def test_colours_are_right_for_who_guesses_them_by_size(tmp_path: Path, capsys) -> None:
    """A clip that is tagged BT.709 becomes a small y4m, which readers take for BT.601."""
    tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    clip = tmp_path / "in.mkv"
    source = "color=red:size=24x16:rate=25:duration=0.08,scale=out_color_matrix=bt709"
    ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv444p", *tags, "-c:v", "ffv1", clip)
    piped = run_piped_command(["upscale", clip, "-o", "-", *QUICK], b"", capsys)
    place = tmp_path / "out.y4m"
    place.write_bytes(piped.out)
    with VideoReader(clip) as before, VideoReader(place) as after:
        first, second = (next(iter(reader)).pixels[5, 5].astype(int) for reader in (before, after))
    assert np.abs(first - second).max() <= 2 and first[0] > 240


def test_gray_is_told_to_be_full_range(capsys) -> None:
    """As FFmpeg and the reader here take it: 0 is black and 255 is white."""
    words = ["upscale", "-", "-o", "-", "--pixel-format", "gray", *QUICK]
    white = _y4m("-pix_fmt", "yuv420p", source="color=white:size=8x8:rate=25:duration=0.08")
    piped = run_piped_command(words, white, capsys)
    assert piped.code == 0 and b"Cmono XCOLORRANGE=FULL" in piped.out.split(b"\n")[0]
    assert set(piped.out.split(b"FRAME\n")[1]) == {255}


def test_nut_keeps_times_and_sound(tmp_path: Path, capsys) -> None:
    clip = tmp_path / "in.mkv"
    uneven = "testsrc2=size=24x16:rate=10:duration=1,setpts=PTS+gt(N\\,4)*0.3/TB"
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1")
    ffmpeg("-f", "lavfi", "-i", uneven, *sound, "-c:v", "ffv1", "-c:a", "aac", "-fps_mode", "passthrough", clip)
    out = []
    for words, data in ((["upscale", "-"], clip.read_bytes()), (["upscale", clip], b"")):
        piped = run_piped_command([*words, "-o", "-", "--pipe-format", "nut", *QUICK], data, capsys)
        assert piped.code == 0, piped.err
        place = tmp_path / f"out{len(out)}.nut"
        place.write_bytes(piped.out)
        with VideoReader(place) as after, VideoReader(clip) as before:
            times = [[frame.pts * frame.time_base for frame in reader] for reader in (before, after)]
        late = times[1][0] - times[0][0]  # AAC begins before 0, which NUT cannot tell: all is moved
        assert [time - late for time in times[1]] == times[0] and 0 <= late < 0.05 and len(set(np.diff(times[0]))) > 1
        assert abs(heard_at(place) - heard_at(clip) - late) < 0.002
        copied = [ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-") for path in (clip, place)]
        assert copied[0] == copied[1]
        out.append(piped.out)
    even = run_piped_command(["upscale", "-", "-o", "-", *QUICK], clip.read_bytes(), capsys)
    assert even.code == 0 and "not evenly spaced" in even.err and "without audio; --pipe-format nut" in even.err
    assert even.out.count(b"FRAME\n") == 10


@pytest.mark.parametrize("isolate", [(), ("--isolate",)])
def test_what_is_no_whole_video_is_told(isolate: tuple[str, ...], y4m: bytes, capsys) -> None:
    words = ["upscale", "-", "-o", "-", *QUICK, *isolate]
    cases = {
        b"": "standard input: it is empty",
        b"hello " * 999: "no video that can be read as it comes",
        y4m[:20]: "no video that can be read as it comes",
        y4m.replace(b" Ip ", b" Im ", 1): "mixed interlaced and non-interlaced",
        b"\0\0\0\x18ftypisom" * 99: "MP4 and MOV cannot be read as they come",
    }
    for data, told in cases.items():
        piped = run_piped_command(words, data, capsys)
        assert piped.code == 1 and told in piped.err and piped.err.count("error") == 1, piped.err
        assert not piped.out and "Traceback" not in piped.err
    cut = run_piped_command([*words, "--segment", "1"], y4m[:-100], capsys)
    assert cut.code == 1 and "ends within a frame" in cut.err
    assert len(cut.out.split(b"FRAME\n", 1)[1]) % (96 * 64 * 3 // 2 + 6) == 96 * 64 * 3 // 2  # whole frames
    skipped = run_piped_command([*words, "--on-corrupt", "skip"], y4m[:-100], capsys)
    assert skipped.code == 0 and "left out" in skipped.err and skipped.out.count(b"FRAME\n") == 9
    whole = run_piped_command(words, y4m, capsys)
    assert whole.code == 0 and whole.out.count(b"FRAME\n") == 10


def test_a_reader_that_leaves_ends_the_work(y4m: bytes, capsys) -> None:
    for container in ("y4m", "nut"):
        words = ["upscale", "-", "-o", "-", "--pipe-format", container, "--segment", "1", *QUICK]
        piped = run_piped_command(words, y4m, capsys, take=1)
        assert piped.code == 1 and piped.err.count("error: standard output: its reader closed it") == 1
        assert "Traceback" not in piped.err and "Exception" not in piped.err


def test_interlaced_frames_are_deinterlaced_or_told(capsys) -> None:
    data = _y4m("-vf", "tinterlace=interleave_top,setfield=tff", "-pix_fmt", "yuv420p", "-flags", "+ilme")
    assert b" It " in data[:80]
    piped = run_piped_command(["upscale", "-", "-o", "-", *QUICK], data, capsys)
    assert piped.code == 0 and "deinterlaced" in piped.err and b" Ip " in piped.out[:80]
    left = run_piped_command(["upscale", "-", "-o", "-", "--deinterlace", "off", *QUICK], data, capsys)
    assert left.code == 0 and "interlaced, and left so" in left.err and left.out != piped.out


def test_standard_input_into_a_file(y4m: bytes, tmp_path: Path, capsys) -> None:
    clip = tmp_path / "in.y4m"
    clip.write_bytes(y4m)
    assert main(["upscale", str(clip), "-o", str(tmp_path / "a.mkv"), *QUICK]) == 0
    piped = run_piped_command(["upscale", "-", "-o", tmp_path / "b.mkv", *QUICK], y4m, capsys)
    assert piped.code == 0, piped.err
    both = [ffmpeg("-i", tmp_path / name, *FRAMES) for name in ("a.mkv", "b.mkv")]
    assert both[0] == both[1] and both[0]
    again = run_piped_command(["upscale", "-", "-o", tmp_path / "b.mkv", *QUICK], b"", capsys)
    assert again.code == 1 and "already there" in again.err  # told before standard input is read
    empty = run_piped_command(["upscale", "-", "-o", tmp_path / "c.mkv", *QUICK], b"", capsys)
    assert empty.code == 1 and "it is empty" in empty.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv", "b.mkv", "in.y4m"]


def test_images_of_two_sizes_are_refused_before_the_first_frame(tmp_path: Path, capsys) -> None:
    for size, first, count in (("24x16", 0, 30), ("32x16", 30, 1)):
        words = ("-frames:v", str(count), "-start_number", str(first), tmp_path / "%02d.png")
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}", *words)
    piped = run_piped_command(["upscale", tmp_path, "-o", "-", "--segment", "2", *QUICK], b"", capsys)
    assert piped.code == 1 and not piped.out
    assert "30.png: 32x16, but the first image is 24x16" in piped.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("-",), 2, "give -o FILE, or -o - for standard output"),
        (("-", "{clip}", "-o", "x/"), 2, "goes alone"),
        (("{clip}", "{clip}", "-o", "-"), 1, "takes one video, and 2 inputs"),
        (("{clip}", "-o", "-", "--dry-run"), 2, "--dry-run is for outputs that are files"),
        (("-", "-o", "x.mkv", "--dry-run"), 2, "--dry-run reads the input twice"),
        (("{clip}", "--pipe-format", "nut"), 2, "give -o - as well"),
        (("{clip}", "-o", "-", "--crf", "20"), 1, "--crf is for files"),
        (("{clip}", "-o", "-", "--compare"), 1, "--compare is for files"),
        (("{clip}", "-o", "-", "--pixel-format", "yuv410p"), 1, "choose one of yuv420p"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], code: int, told: str, clip: Path, one_line, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, said = one_line("upscale", *(word.format(clip=clip) for word in words))
    assert found == code and told in said
    assert not list(tmp_path.iterdir())


def test_transparency_needs_nut_or_a_word(tmp_path: Path, capsys) -> None:
    clip = tmp_path / "in.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=24x16:duration=0.08,format=yuva444p", "-c:v", "ffv1", clip)
    refused = run_piped_command(["upscale", clip, "-o", "-", *QUICK], b"", capsys)
    assert refused.code == 1 and "--alpha drop" in refused.err and not refused.out
    kept = run_piped_command(["upscale", clip, "-o", "-", "--pipe-format", "nut", *QUICK], b"", capsys)
    assert kept.code == 0
    assert len(_frames(kept.out, tmp_path, "rgba", "nut")) == 2 * 96 * 64 * 4


def test_being_stopped_while_nobody_reads_or_writes(y4m: bytes) -> None:
    """Both ends of the pipes stay open and idle: the command ends all the same, and says nothing half."""
    command = [sys.executable, "-m", "starvsr", "upscale", "-", "-o", "-", "--segment", "1", *QUICK]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            process.stdin.write(y4m)
            assert process.stdout.read(9) == b"YUV4MPEG2"  # the first frame comes before the input ends
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 128 + signal.SIGTERM  # it would wait for ever
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()
