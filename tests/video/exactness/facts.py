"""What lies in a media file, told by PyAV's own calls and by an FFmpeg program: never by the package's reader."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np

from benchmarks.reliability.media_facts import parse_framecrc
from tests.video.exactness.clips import number_in

_BOOKKEEPING = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "handler_name", "vendor_id"}


@dataclass(frozen=True)
class Shown:
    """The frames that are shown: times in seconds, and the number drawn into each."""

    times: tuple[Fraction, ...]
    numbers: tuple[int, ...]
    tick: Fraction


@dataclass(frozen=True)
class Copied:
    """A stream that should be copied: packets as (time in seconds, bytes), and what is said about it."""

    index: int
    codec: str
    packets: tuple[tuple[Fraction, bytes], ...]
    tick: Fraction
    tags: Mapping[str, str]
    disposition: int

    @property
    def content(self) -> list[bytes]:
        """The bytes of each packet."""
        return [data for _, data in self.packets]

    @property
    def times(self) -> list[Fraction]:
        """The time of each packet."""
        return [time for time, _ in self.packets]


def shown_by_pyav(path: Path) -> Shown:
    """Decode the video with PyAV; frames come in the order that the decoder gives them."""
    times, numbers = [], []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = moving_picture(container)
        for frame in container.decode(stream):
            times.append(frame.pts * Fraction(frame.time_base))
            numbers.append(number_in(_gray(frame)))
        return Shown(tuple(times), tuple(numbers), Fraction(stream.time_base))


def shown_by_ffmpeg(path: Path, folder: Path) -> Shown:
    """Decode the video with the FFmpeg program, which must not find fault with it."""
    raw = folder / "gray.raw"
    choice = ["-map", "0:V:0", "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    frames = [*choice, "-vf", "setpts=N,scale=out_range=full", "-pix_fmt", "gray", "-f", "rawvideo", str(raw)]
    told = ffmpeg("-y", "-i", path, *choice, "-copyts", "-f", "framecrc", "-", *frames)
    facts = parse_framecrc(told.decode())
    assert facts.size is not None
    width, height = facts.size
    pictures = np.frombuffer(raw.read_bytes(), np.uint8).reshape(-1, height, width)
    raw.unlink()
    assert len(pictures) == len(facts.times)
    return Shown(tuple(facts.times), tuple(number_in(picture) for picture in pictures), Fraction(0))


def sound_by_pyav(path: Path) -> bytes:
    """Decode the first sound with PyAV; all samples, without the gaps between them."""
    with av.open(str(path), metadata_errors="replace") as container:
        return b"".join(frame.to_ndarray().T.tobytes() for frame in container.decode(audio=0))


def planes_by_ffmpeg(path: Path, pix_fmt: str, *words: str) -> bytes:
    """Give the samples of all frames as FFmpeg decodes them, upright, in a pixel format."""
    return ffmpeg(
        "-i", path, "-map", "0:V:0", "-fps_mode", "passthrough", *words, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"
    )


def ffmpeg(*words: str | Path) -> bytes:
    """Run the FFmpeg program of imageio-ffmpeg; it must end well and have nothing to complain about."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-xerror", *map(str, words)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b"", done.stderr.decode()
    return done.stdout


def moving_picture(container: Any) -> Any:
    """Give the first video stream that is not cover art."""
    return next(s for s in container.streams.video if not is_cover(s))


def is_cover(stream: Any) -> bool:
    """Whether a stream is cover art."""
    return stream.type == "video" and bool(stream.disposition & av.stream.Disposition.attached_pic)


def copied_streams(path: Path, kind: str) -> list[Copied]:
    """Give the streams of a kind (``audio``, ``subtitle``, ``cover``) with their packets, in order."""
    with av.open(str(path), metadata_errors="replace") as container:
        streams = [s for s in container.streams if (kind == "cover" and is_cover(s)) or s.type == kind]
        packets: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in streams}
        if streams:
            for packet in container.demux(streams):
                if packet.size and not _is_empty_text(packet):
                    time = (packet.pts or 0) * Fraction(packet.time_base)
                    packets[packet.stream.index].append((time, bytes(packet)))
        return [
            Copied(
                s.index,
                s.codec_context.name,
                tuple(packets[s.index]),
                Fraction(s.time_base),
                tags_of(s.metadata),
                int(s.disposition),
            )
            for s in streams
        ]


def attachments(path: Path) -> list[tuple[str, str, bytes]]:
    """Give name, type and content of the attachments that are not pictures."""
    with av.open(str(path), metadata_errors="replace") as container:
        return [
            (s.metadata["filename"], s.mimetype, bytes(s.data)) for s in container.streams if s.type == "attachment"
        ]


def chapters(path: Path) -> list[tuple[Fraction, Fraction, dict[str, str]]]:
    """Give start and end in seconds and the tags of each chapter."""
    with av.open(str(path), metadata_errors="replace") as container:
        found = []
        for chapter in container.chapters():
            base = Fraction(chapter["time_base"])
            found.append((chapter["start"] * base, chapter["end"] * base, tags_of(chapter["metadata"])))
        return found


def container_tags(path: Path) -> dict[str, str]:
    """Give the tags of a container, without what muxers write about themselves."""
    with av.open(str(path), metadata_errors="replace") as container:
        return tags_of(container.metadata)


def tags_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Give tags with keys in lower case, as Matroska folds them, without bookkeeping."""
    tags = {key.lower(): value for key, value in metadata.items() if key.lower() not in _BOOKKEEPING}
    if "name" in tags:  # what QuickTime calls a stream's title
        tags.setdefault("title", tags.pop("name"))
    return tags


def display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """Read the display matrix of a decoded frame."""
    for index in range(len(frame.side_data)):
        data = frame.side_data[index]
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data)[:36])
            return a >> 16, b >> 16, c >> 16, d >> 16
    return 1, 0, 0, 1


def _gray(frame: Any) -> np.ndarray:
    gray = frame.reformat(format="gray", dst_color_range=2, threads=1)
    plane = gray.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width]


def _is_empty_text(packet: Any) -> bool:
    """MP4 fills the time between subtitles with empty ones."""
    return packet.stream.type == "subtitle" and bytes(packet) == b"\0\0"
