"""VMAF through the FFmpeg that the package imageio-ffmpeg carries (extra "eval").

The model is "vmaf_v0.6.1neg": NEG ("no enhancement gain") limits the reward for mere sharpening, which plain
VMAF pays generously. Both clips go through one pipe, one above the other in one tall picture, and the same
FFmpeg filter turns both into 8-bit yuv420p (BT.709, limited range): no conversion can favour one side, and
memory stays at a few frames.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError, ResourceError
from starvsr.metrics.metric import ByteArray, FrameSet, Metric

NEG_MODEL = "vmaf_v0.6.1neg"
PLAIN_MODEL = "vmaf_v0.6.1"
_SMALLEST_PX = 32


def vmaf(
    gt: Iterable[ByteArray],
    hq: Iterable[ByteArray],
    *,
    model: str = NEG_MODEL,
    crop_px: int = 0,
    num_threads: int = 1,
) -> npt.NDArray[np.float64]:
    """Compute VMAF of each frame; average over frames for the score of the clip.

    Args:
        gt: ground-truth frames, each uint8 [H, W, 3] RGB; an array [T, H, W, 3] or any stream.
        hq: as many result frames of the same size.
        model: a model built into libvmaf: "vmaf_v0.6.1neg", "vmaf_v0.6.1" ...
        crop_px: pixels cut from each border first; odd sizes then lose their last row or column.
        num_threads: threads of libvmaf.

    Returns:
        float64 [T], about 0..100. The motion feature looks at neighbouring frames: feed whole clips.

    Raises:
        OptionError: imageio-ffmpeg is missing, a clip is empty, or frames differ in number or size.
        ResourceError: FFmpeg failed (with its last message).
    """
    return _scores(_paired(gt, hq, crop_px), model, num_threads)


def _scores(pairs: Iterator[tuple[ByteArray, ByteArray]], model: str, num_threads: int) -> npt.NDArray[np.float64]:
    try:
        first = next(pairs)
    except StopIteration:
        raise OptionError("VMAF needs at least one frame and both clips are empty") from None
    height, width = first[0].shape[:2]
    with tempfile.TemporaryDirectory(prefix="starvsr-vmaf-") as folder:
        log = Path(folder, "vmaf.json")
        command = _command(width, height, model, log.name, num_threads)
        messages = _run(command, folder, itertools.chain([first], pairs))
        if not log.exists():
            raise ResourceError(f"VMAF was not computed, FFmpeg said: {messages[-1] if messages else 'nothing'}")
        scores = json.loads(log.read_text())["frames"]
    return np.array([frame["metrics"]["vmaf"] for frame in scores], np.float64)


def has_vmaf() -> bool:
    """Return whether imageio-ffmpeg is installed and its FFmpeg has the libvmaf filter."""
    try:
        executable = _ffmpeg()
    except OptionError:
        return False
    return _has_filter(executable)


def _require() -> None:
    """Refuse where VMAF cannot be computed, before frames are read."""
    executable = _ffmpeg()
    if not _has_filter(executable):
        raise OptionError(
            f"the FFmpeg at {executable} has no libvmaf filter: unset IMAGEIO_FFMPEG_EXE, or name one there that has it"
        )


@lru_cache(maxsize=4)
def _has_filter(executable: str) -> bool:
    found = subprocess.run([executable, "-hide_banner", "-filters"], capture_output=True, check=False)
    return b" libvmaf " in found.stdout


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise OptionError(
            "VMAF needs the FFmpeg of imageio-ffmpeg, which is not installed: pip install 'starvsr[eval]'"
        ) from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _command(width: int, height: int, model: str, log_name: str, num_threads: int) -> list[str]:
    to_yuv = "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=bicubic+accurate_rnd,format=yuv420p"
    graph = (
        f"[0:v]split[a][b];[a]crop={width}:{height}:0:0,{to_yuv}[gt];[b]crop={width}:{height}:0:{height},{to_yuv}[hq];"
        f"[hq][gt]libvmaf=model=version={model}:log_fmt=json:log_path={log_name}:n_threads={num_threads}"
    )
    raw = [
        "-f",
        "rawvideo",
        "-pixel_format",
        "rgb24",
        "-video_size",
        f"{width}x{2 * height}",
        "-framerate",
        "25",
    ]
    quiet = ["-hide_banner", "-nostdin", "-loglevel", "error"]
    return [_ffmpeg(), *quiet, *raw, "-i", "pipe:0", "-filter_complex", graph, "-f", "null", "-"]


def _paired(gt: Iterable[ByteArray], hq: Iterable[ByteArray], crop_px: int) -> Iterator[tuple[ByteArray, ByteArray]]:
    """Yield cropped frames of both clips, all of one even size."""
    shape: tuple[int, ...] | None = None
    try:
        for a, b in zip(gt, hq, strict=True):
            shape = a.shape if shape is None else shape
            if a.shape != shape or b.shape != shape or a.dtype != np.uint8 or b.dtype != np.uint8:
                raise OptionError(
                    f"VMAF needs uint8 frames of one shape, got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
                )
            yield _inner(a, crop_px), _inner(b, crop_px)
    except ValueError as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError("gt and hq differ in their number of frames: cut one of them") from error


def _inner(frame: ByteArray, crop_px: int) -> ByteArray:
    height = (frame.shape[0] - 2 * crop_px) // 2 * 2
    width = (frame.shape[1] - 2 * crop_px) // 2 * 2
    if min(height, width) < _SMALLEST_PX:
        raise OptionError(f"VMAF needs at least {_SMALLEST_PX} px after the crop, got {width}x{height}")
    return frame[crop_px : crop_px + height, crop_px : crop_px + width]


def _run(command: list[str], folder: str, pairs: Iterator[tuple[ByteArray, ByteArray]]) -> list[str]:
    """Run FFmpeg in the folder, feed it the pairs, ground truth above result; return its error messages."""
    with Path(folder, "errors.txt").open("w+b") as errors:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        assert process.stdin is not None
        try:
            # a broken pipe means that FFmpeg gave up: its message says why
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                for gt, hq in pairs:
                    pipe.write(gt.tobytes() + hq.tobytes())
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        errors.seek(0)
        return errors.read().decode(errors="replace").strip().splitlines()


def _paired_sets(frames: Iterator[FrameSet]) -> Iterator[tuple[ByteArray, ByteArray]]:
    for frame in frames:
        yield _inner(frame.gt, 0), _inner(frame.hq, 0)


def _metric(name: str, model: str) -> Metric:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        yield from _scores(_paired_sets(frames), model, num_threads=1).tolist()

    return Metric(
        name=name,
        unit="",
        higher_is_better=True,
        needs=frozenset({"gt"}),
        protocol=f"libvmaf {model}, 8-bit yuv420p BT.709, mean over frames",
        compute=compute,
        weights="built into libvmaf",
        requires=_require,
    )


VMAF_NEG = _metric("vmaf_neg", NEG_MODEL)
VMAF = _metric("vmaf", PLAIN_MODEL)
