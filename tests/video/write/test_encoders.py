"""Every encoder: sizes, shapes of pixels, settings that are refused, the same bytes each time, no words."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from starvsr.video.write.output_format import OutputFormat
from tests.video.clips import make_clip, moving_bars
from tests.video.frames import QUICK, copy, pixels_of, times, write


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("size", [(33, 17), (64, 17), (33, 48)])
def test_odd_sizes_stay_exact_and_are_noted(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    out = tmp_path / f"out{suffix}"
    writer = write(out, moving_bars(3, size[1], size[0]), QUICK)
    assert (probe(out).width, probe(out).height) == size
    assert probe(out).pixel_format == "yuv444p"
    assert any("odd" in note for note in writer.notes)


@pytest.mark.parametrize("size", [(67, 65), (17, 129), (255, 16)])
def test_ffv1_takes_odd_sizes_in_420(tmp_path: Path, size: tuple[int, int]) -> None:
    options = EncodeOptions(codec="ffv1", pixel_format="yuv420p")
    write(tmp_path / "a.mkv", moving_bars(2, size[1], size[0]), options)
    info = probe(tmp_path / "a.mkv")
    assert (info.width, info.height, info.pixel_format) == (*size, "yuv420p")


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "wanted"),
    [
        ("a.mp4", "libx264", None, ("h264", "yuv420p")),
        ("a.mp4", "hevc", None, ("hevc", "yuv420p")),
        ("a.mp4", "av1", None, ("av1", "yuv420p")),
        ("a.mkv", "libsvtav1", "yuv420p10le", ("av1", "yuv420p10le")),
        ("a.mkv", "vp9", None, ("vp9", "yuv420p")),
        ("a.mov", "prores", None, ("prores", "yuv422p10le")),
        ("a.mkv", "ffv1", "gbrp12le", ("ffv1", "gbrp12le")),
        ("a.mkv", "libx264", "yuv422p10le", ("h264", "yuv422p10le")),
        ("a.mkv", "libx265", "yuv444p12le", ("hevc", "yuv444p12le")),
    ],
)
def test_encoders(tmp_path: Path, name: str, codec: str, pix_fmt: str | None, wanted: tuple[str, str]) -> None:
    frames = moving_bars(4, 64, 96)
    write(tmp_path / name, frames, EncodeOptions(codec=codec, pixel_format=pix_fmt))
    info = probe(tmp_path / name)
    assert (info.codec.removeprefix("libdav1d") or "av1", info.pixel_format) == wanted
    back = pixels_of(tmp_path / name)
    scale = 1 if back.dtype == np.uint8 else 257
    assert np.abs(back / scale - frames).mean() < 4
    if codec == "hevc":
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "prores"),
        ("a.mkv", "libx264"),
        ("a.mkv", "av1"),
        ("a.mkv", "ffv1"),
        ("a.webm", "vp9"),
    ],
)
def test_sample_aspect_ratio_is_kept(tmp_path: Path, name: str, codec: str) -> None:
    source = make_clip(tmp_path / "in.mp4", aspect=Fraction(16, 11), count=3, size=(88, 64))
    copy(source, tmp_path / name, options=EncodeOptions(codec=codec))
    info = probe(tmp_path / name)
    assert info.sample_aspect_ratio == Fraction(16, 11)
    assert info.rotation == 0
    assert len(times(tmp_path / name)) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.xyz", EncodeOptions(), "cannot write .xyz"),
        ("a.mp4", EncodeOptions(codec="prores"), "cannot hold prores_ks"),
        ("a.webm", EncodeOptions(codec="libx264"), "cannot hold libx264"),
        ("a.mp4", EncodeOptions(codec="divx"), "no encoder known"),
        ("a.mp4", EncodeOptions(crf=99), "goes from 0 to 51"),
        ("a.mov", EncodeOptions(codec="prores", crf=9), "has no crf"),
        ("a.mkv", EncodeOptions(codec="ffv1", preset="slow"), "has no preset"),
        ("a.mp4", EncodeOptions(pixel_format="yuv411p"), "does not take yuv411p"),
        ("a.mp4", EncodeOptions(preset="warp"), "refuses these settings"),
        ("a.mp4", EncodeOptions(alpha="maybe"), "alpha must be one of"),
        ("a.mp4", EncodeOptions(codec="h264_nvenc"), "does not work on this machine"),
        ("out", EncodeOptions(codec="libx264"), "images take no codec"),
        ("a.mp4", EncodeOptions(codec="libx265"), "needs 64 pixels"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(
    tmp_path: Path, name: str, options: EncodeOptions, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        VideoWriter(tmp_path / name, source=None, width=64, height=48, options=options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        outs = [tmp_path / f"{i}{suffix}" for i in range(2)]
        for out in outs:
            write(out, moving_bars(4))
        assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.mp4", "hevc"), ("a.webm", "vp9"), ("a.mp4", "av1")])
def test_larger_frames_give_the_same_bytes_on_one_core_and_on_all(tmp_path: Path, name: str, codec: str) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    frames = np.stack([np.roll(texture, (i * 3, i * 2), (0, 1))[:128, :192] for i in range(12)])
    preset = {"h264": "veryfast", "hevc": "ultrafast", "vp9": "8", "av1": "12"}[codec]
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    digests = set()
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            if cores:
                os.sched_setaffinity(0, {min(cores)} if number % 2 else cores)
            write(folder / name, frames, EncodeOptions(codec=codec, preset=preset))
        finally:
            if cores:
                os.sched_setaffinity(0, cores)
        digests.add((folder / name).read_bytes())
    assert len(digests) == 1


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.mov", "prores")])
def test_threads_bound_encoders_whose_bytes_do_not_depend_on_them(tmp_path: Path, name: str, codec: str) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    frames = np.stack([np.roll(texture, (i * 3, i * 2), (0, 1)) for i in range(3)])
    digests = set()
    for threads in (None, 1, 3):
        options = EncodeOptions(codec=codec, threads=threads)
        plan = OutputFormat.like(tmp_path / name, None, 640, 640, options).plan
        assert plan.settings.get("threads") == (threads and str(threads))
        write(tmp_path / name, frames, options)
        digests.add((tmp_path / name).read_bytes())
        (tmp_path / name).unlink()
    assert len(digests) == 1
    for fixed in ("h264", "hevc", "av1", "vp9"):  # these cut frames by it, or write it down
        kinds = (EncodeOptions(codec=fixed, threads=threads) for threads in (None, 1))
        plans = [OutputFormat.like(tmp_path / "a.mkv", None, 640, 640, options).plan for options in kinds]
        assert plans[0] == plans[1]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_one_and_two_pictures_make_a_video(codec: str, count: int, tmp_path: Path) -> None:
    for attempt in range(5):  # x265 left decoding times to chance
        path = tmp_path / f"{attempt}.mp4"
        with VideoWriter(path, source=None, width=64, height=64, options=EncodeOptions(codec=codec)) as writer:
            for index in range(count):
                writer.write(np.zeros((64, 64, 3), np.uint8), index, 1)
        with VideoReader(path) as reader:
            assert sum(1 for _ in reader) == count


def test_encoders_are_silent(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom starvsr.video import *\n"
        "f = np.zeros((64, 64, 3), np.uint8)\n"
        "for name, codec in [('a.mp4', 'libx264'), ('b.mp4', 'libx265'), ('c.mkv', 'libsvtav1'), ('d.webm', None)]:\n"
        "    o = EncodeOptions(codec=codec)\n"
        "    with VideoWriter(Path(sys.argv[1]) / name, source=None, width=64, height=64, options=o) as w:\n"
        "        w.write(f, 0, 1)\n"
        "Path(sys.argv[1], 'x.mp4').write_bytes(b'junk' * 99)\n"
        "try: probe(Path(sys.argv[1]) / 'x.mp4')\nexcept Exception: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gets real-time threads")
def test_av1_leaves_the_machine_to_others(tmp_path: Path) -> None:
    """SVT-AV1 asks for threads that nothing else runs beside; a process of its own, as others may have left some."""
    code = (
        "import os, sys, numpy as np; from starvsr.video import EncodeOptions, VideoWriter\n"
        "with VideoWriter(sys.argv[1], source=None, width=64, height=64, options=EncodeOptions('av1')) as writer:\n"
        "    writer.write(np.zeros((64, 64, 3), np.uint8), 0, 1)\n"
        "    threads = [int(name) for name in os.listdir('/proc/self/task')]\n"
        "    print(len(threads), {os.sched_getscheduler(thread) for thread in threads})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.mkv")], capture_output=True, text=True, check=True
    )
    count, policies = done.stdout.split(" ", 1)
    assert int(count) > 5 and policies.strip() == "{0}"
