"""Find out before any work is done whether a file was cut off, from its index or its tail."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import av

from starvsr.video.info import VideoInfo
from starvsr.video.read.opening import open_input
from starvsr.video.read.stream_choice import video_stream
from starvsr.video.read.stream_facts import leaves_out_frames

_TAIL = 2  # seconds before the promised end where the tail is looked for
_TOLERANCE = Fraction(3, 2)


def find_missing_part(info: VideoInfo) -> str | None:
    """Say what is missing at the end of a file, e.g. ``57 of 100 frames are in the file``; None when whole.

    MP4, MOV and AVI carry an index, which is compared with the size of the file. Other containers that
    promise a duration are asked for their last packets. Neither costs a pass over the file.
    """
    if info.container.startswith(("mov", "avi")):
        return _by_index(info)
    if info.duration is None or not info.has_timestamps or info.container.startswith(("mpeg", "gif")):
        return None
    return _by_tail(info)


def _by_index(info: VideoInfo) -> str | None:
    size = info.path.stat().st_size
    with open_input(info.path, limits=info.limits) as container:
        stream = video_stream(container, info.path)
        entries = getattr(stream, "index_entries", ())  # since PyAV 17
        is_short = len(entries) < stream.frames and not (info.container == "avi" and leaves_out_frames(stream))
        if is_short and (info.container == "avi" or not entries):
            return _by_count(info, stream.frames)  # the index of an AVI lies behind the pictures
        total, inside = 0, 0
        for entry in entries:
            total += 1
            inside += entry.pos + entry.size <= size
    return f"{inside} of {total} frames are in the file" if inside < total else None


def _by_count(info: VideoInfo, promised: int) -> str | None:
    found = max(count_packets(info), _last_place(info) + 1)  # its writers leave frames out that are as the ones before
    return f"{found} of {promised} frames are in the file" if found < promised * 0.97 - 1 else None


def _last_place(info: VideoInfo) -> int:
    """Give the number of the last frame that is there, among those that are promised."""
    last = -1
    with open_input(info.path, limits=info.limits) as container, contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(video_stream(container, info.path)):
            last = packet.dts if packet.size and packet.dts is not None else last
    return last


def _by_tail(info: VideoInfo) -> str | None:
    with open_input(info.path, limits=info.limits) as container:
        if not container.duration:
            return None
        promised = Fraction(container.duration, 1_000_000)  # Matroska counts it from 0, not from the first frame
        end = _last_time(container, promised)
    if end is None or end >= promised - _TOLERANCE:
        return None
    return f"it promises {float(promised):.2f} s and ends at {float(end):.2f} s ({count_packets(info)} frames)"


def _last_time(container: Any, promised: Fraction) -> Fraction | None:
    """Give the end of the last packet of any stream, reading the tail only where seeking works."""
    try:
        container.seek(int((promised - _TAIL) * 1_000_000))
    except av.error.FFmpegError:
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(0)
    last: Fraction | None = None
    try:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                end = (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)
                last = end if last is None else max(last, end)
    except av.error.FFmpegError:
        pass
    return last


def count_packets(info: VideoInfo) -> int:
    """Count the packets of the video stream by reading the whole file, without decoding."""
    total = 0
    with open_input(info.path, limits=info.limits) as container:
        try:
            for packet in container.demux(video_stream(container, info.path)):
                total += packet.size > 0 and not packet.is_discard
        except av.error.FFmpegError:
            pass
    return total
