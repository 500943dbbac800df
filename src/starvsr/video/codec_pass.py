"""Put a clip through a video codec in memory, and read short clips into arrays.

Holds the codec side of degradation and of the training data: encode and decode a whole clip without a file,
decode a stretch of a file into one array, write a small clip. It knows nothing of what the clips are for,
and it is no streaming reader: everything here is held in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from starvsr.errors import InputNotFoundError, OptionError, UnreadableInputError
from starvsr.video.read.opening import open_input

DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg4": "mpeg4", "libvpx-vp9": "vp9"}
"""Decoder that reads what each supported encoder writes."""

_CRF_LIMITS = {"libx264": (0, 51), "libx265": (0, 51), "mpeg4": (1, 31), "libvpx-vp9": (0, 63)}
_SMALLEST_SIDE = {"libx265": 64}
"""Narrower pictures make libx265 (seen in 4.2) write beyond its buffers and bring the process down."""
_SMALLEST_SIDE_OF_OTHERS = 16
_HEADER_KBIT = 6
"""Space for parameter sets and encoder notes, which would eat the whole first frame of a tiny clip."""
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}

_ROUNDED = 0x4 | 0x2000 | 0x4000 | 0x40000  # by number: PyAV names them only since 18
"""swscale's default cuts instead of rounding: each pass would darken a clip by more than one code.
Bicubic, full chroma in and out, accurate rounding."""


_SAME_EVERY_RUN = "cpu-independent=1"  # x264's code for AVX gives other bytes from run to run


def compress_clip(
    frames: np.ndarray,
    codec: str = "libx264",
    *,
    crf: int | None = None,
    bit_rate: int | None = None,
    frame_rate: Fraction | int = 25,
    buffer_s: float | None = 1.0,
    preset: str | None = None,
    gop: int | None = None,
    deblock: bool = True,
) -> np.ndarray:
    """Encode and decode a whole clip in memory, 4:2:0, one thread, always the same bytes for the same input.

    Args:
        frames: uint8 [T, H, W, 3] RGB; odd and tiny sizes are padded by edge pixels for the
            encoder and cut again.
        codec: "libx264", "libx265", "mpeg4" or "libvpx-vp9".
        crf: constant quality on the codec's own scale (0..51 for x264 and x265, 0..63 for VP9; for mpeg4
            the fixed quantiser, 1..31). None when `bit_rate` is given.
        bit_rate: bits per second.
        buffer_s: decoder buffer of x264 and x265 in seconds for `bit_rate`, which starves short clips too;
            None for an average rate alone.
        frame_rate: frames per second; only the bit rate depends on it.
        preset: x264/x265 speed preset ("veryfast" when None); not used by the other codecs.
        gop: distance between key frames; None for the codec's habit.
        deblock: False switches the in-loop filter of H.264 and H.265 off, as old players and encoders did.

    Returns:
        uint8 [T, H, W, 3] RGB, decoded.

    Raises:
        OptionError: unknown codec, both or neither of `crf` and `bit_rate`, a value out of range, wrong
            shape.
    """
    _check_request(frames, codec, crf, bit_rate)
    num_frames, height, width, _ = frames.shape
    smallest = _SMALLEST_SIDE.get(codec, _SMALLEST_SIDE_OF_OTHERS)
    below, right = (max(side + side % 2, smallest) - side for side in (height, width))
    padded = np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
    encoder = _open_encoder(codec, padded.shape[2], padded.shape[1], Fraction(frame_rate), bit_rate)
    buffered = None if bit_rate is None or buffer_s is None else (bit_rate, buffer_s)
    encoder.options = _encoder_options(codec, crf, buffered, preset, deblock)
    if gop is not None:
        encoder.gop_size = gop
    decoder: Any = av.CodecContext.create(DECODERS[codec], "r")
    decoder.thread_count = 1
    decoded: list[np.ndarray] = []
    for packet in _encode(encoder, padded):
        decoded.extend(_decoded_rgb(decoder.decode(packet)))
    decoded.extend(_decoded_rgb(decoder.decode(None)))
    if len(decoded) != num_frames:
        raise UnreadableInputError(
            f"{codec} gave back {len(decoded)} of {num_frames} frames; use another codec for this clip"
        )
    return np.stack(decoded)[:, :height, :width]


def read_clip(path: str | Path, start: int = 0, num_frames: int | None = None, step: int = 1) -> np.ndarray:
    """Decode frames start, start + step, ... of a video into one array.

    Untagged video is taken as BT.709 from 720 lines on and as BT.601 below; full-range sources are read as
    such.

    Args:
        path: a file that FFmpeg can read.
        start: index of the first frame wanted, in presentation order.
        num_frames: how many frames to return at most; None for all that are there.
        step: distance between the frames returned.

    Returns:
        uint8 [T, H, W, 3] RGB full range, T may be less than asked for at the end of the video.

    Raises:
        InputNotFoundError: there is no such file.
        UnreadableInputError: not a video, or no frame from `start` on.
    """
    return np.stack(list(iter_clip(path, start, num_frames, step)))


def iter_clip(path: str | Path, start: int = 0, num_frames: int | None = None, step: int = 1) -> Iterator[np.ndarray]:
    """Decode the frames that :func:`read_clip` returns one after another, uint8 [H, W, 3]; holds no more than one.

    Arguments and errors are those of :func:`read_clip`; errors are raised when the first frame is asked for.
    """
    if not Path(path).is_file():
        raise InputNotFoundError(f"there is no file {path}; check the path")
    count = 0
    try:
        with open_input(Path(path)) as container:
            stream = container.streams.video[0]
            for index, frame in enumerate(container.decode(stream)):
                if index >= start and (index - start) % step == 0:
                    count += 1
                    yield _to_rgb(frame)
                if num_frames is not None and count >= num_frames:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableInputError(f"{path} cannot be decoded as video ({error})") from error
    if not count:
        raise UnreadableInputError(f"{path} has no frame from index {start} on; ask for an earlier one")


def hdr_transfer(path: str | Path) -> str | None:
    """Name the HDR transfer curve of a video ("PQ" or "HLG"), None for ordinary video.

    Raises:
        UnreadableInputError: the file cannot be opened as video.
    """
    try:
        with open_input(Path(path)) as container:
            context: Any = container.streams.video[0].codec_context
            return _HDR_TRANSFERS.get(int(context.color_trc))
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableInputError(f"{path} cannot be opened as video ({error})") from error


def clip_frame_rate(path: str | Path) -> Fraction:
    """Return the average frame rate of a video, 25 where the file does not tell.

    Raises:
        UnreadableInputError: the file cannot be opened as video.
    """
    try:
        with open_input(Path(path)) as container:
            return Fraction(container.streams.video[0].average_rate or 25)
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableInputError(f"{path} cannot be opened as video ({error})") from error


def write_lossless(path: str | Path, frames: np.ndarray, frame_rate: Fraction | int = 25) -> None:
    """Write uint8 [T, H, W, 3] RGB as FFV1 in RGB, bit for bit reversible, in Matroska.

    Args:
        path: target, ending in .mkv; replaced when there.
        frames: uint8 [T, H, W, 3] RGB.
        frame_rate: frames per second.
    """
    with av.open(str(path), "w", format="matroska") as container:
        stream: Any = container.add_stream("ffv1", rate=Fraction(frame_rate))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        stream.options = {"level": "3", "slicecrc": "1", "g": "1"}
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))


def write_clip(
    path: str | Path,
    frames: np.ndarray,
    frame_rate: Fraction | int = 25,
    *,
    crf: int = 20,
    sound: np.ndarray | None = None,
    sample_rate: int = 48000,
) -> None:
    """Write a small H.264 clip, with AAC sound if given, in the container that the name asks for.

    Args:
        path: target; replaced when there.
        frames: uint8 [T, H, W, 3] RGB with even sides.
        frame_rate: frames per second.
        crf: x264 quality, 0..51.
        sound: float32 [2, N] stereo samples in [-1, 1], or None.
        sample_rate: samples per second of `sound`.
    """
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=Fraction(frame_rate))
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.options = {"crf": str(crf), "x264-params": _SAME_EVERY_RUN}
        video.codec_context.thread_count = 1
        video.codec_context.colorspace, video.codec_context.color_range = 6, 1
        video.codec_context.color_primaries, video.codec_context.color_trc = 6, 6
        audio: Any = None
        if sound is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="stereo")
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(video.encode(_to_yuv420(frame)))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            samples = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts = sample_rate, 0
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))


def _check_request(frames: np.ndarray, codec: str, crf: int | None, bit_rate: int | None) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise OptionError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    if codec not in DECODERS:
        raise OptionError(f"unknown codec {codec!r}; use one of {', '.join(DECODERS)}")
    if (crf is None) == (bit_rate is None):
        raise OptionError("give exactly one of crf and bit_rate")
    low, high = _CRF_LIMITS[codec]
    if crf is not None and not low <= crf <= high:
        raise OptionError(f"crf of {codec} must be in {low}..{high}, got {crf}")
    if bit_rate is not None and bit_rate < 1:
        raise OptionError(f"bit_rate must be positive, got {bit_rate}")


def _open_encoder(codec: str, width: int, height: int, frame_rate: Fraction, bit_rate: int | None) -> Any:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = 1 / frame_rate
    encoder.framerate = frame_rate
    encoder.thread_count = 1
    encoder.colorspace = 5  # BT.470BG, that is BT.601
    encoder.color_range = 1
    if bit_rate is not None:
        encoder.bit_rate = bit_rate
    return encoder


def _encoder_options(
    codec: str, crf: int | None, buffered: tuple[int, float] | None, preset: str | None, deblock: bool
) -> dict[str, str]:
    quality = {} if crf is None else {"crf": str(crf)}
    if codec == "mpeg4":
        return {} if crf is None else {"qmin": str(crf), "qmax": str(crf)}
    if codec == "libvpx-vp9":
        speed = {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "row-mt": "0"}
        return {**quality, **speed, **({} if crf is None else {"b": "0"})}
    extra = [] if deblock else ["no-deblock=1"]
    if buffered is not None:
        kbit = max(buffered[0] // 1000, 1)
        extra += [f"vbv-maxrate={kbit}", f"vbv-bufsize={round(kbit * buffered[1]) + _HEADER_KBIT}"]
    if codec == "libx265":
        extra += ["log-level=none", "pools=none", "frame-threads=1", "wpp=0"]
    else:
        extra.append(_SAME_EVERY_RUN)
    options = {**quality, "preset": preset or "veryfast"}
    options["x264-params" if codec == "libx264" else "x265-params"] = ":".join(extra)
    return options


def _encode(encoder: Any, frames: np.ndarray) -> list[Any]:
    packets: list[Any] = []
    for index, pixels in enumerate(frames):
        frame = _to_yuv420(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        frame.pts, frame.time_base = index, encoder.time_base
        packets.extend(encoder.encode(frame))
    packets.extend(encoder.encode(None))
    return packets


def _to_yuv420(frame: Any) -> Any:
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=_ROUNDED,
    )


def _decoded_rgb(frames: list[Any]) -> list[np.ndarray]:
    return [
        frame.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_ROUNDED,
        ).to_ndarray()
        for frame in frames
    ]


def _to_rgb(frame: Any) -> np.ndarray:
    if frame.format.is_rgb:
        return np.asarray(frame.reformat(format="rgb24").to_ndarray())
    matrix = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601}.get(
        int(frame.colorspace), Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    )
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    converted = frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_ROUNDED,
    )
    return np.asarray(converted.to_ndarray())
