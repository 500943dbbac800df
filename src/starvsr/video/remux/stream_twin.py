"""Streams of an output that are like streams of an input, and whether a container holds them.

What a container holds is decided by its muxer, which is tried, as FFmpeg's own program does. PyAV asks FFmpeg's list
of codecs instead and refuses what is not on it; Matroska and MOV hold more than theirs: any sound or picture that has
a number in WAV or AVI. A stream that PyAV refuses is made without a codec, and a filter that changes nothing puts the
parameters of the other stream into it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

import av

from starvsr.video.read.opening import captured_log
from starvsr.video.remux.tags import copy_tags, language_of_mov
from starvsr.video.write.containers import muxer_word

Packets = Callable[[], Sequence[Any]]
_CARRIER = "mpegts"  # a muxer without a list of codecs
_CARELESS = ("mpegts", "mov")  # muxers that write what cannot be read
_READERS = {"mp4": "mov", "webm": "matroska"}
_TS_SUBTITLES = frozenset({"dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"})
_MPEG_AUDIO = frozenset({"mp1", "mp2", "mp3"})  # one number in many containers; their packets tell
_EXPERIMENTAL = frozenset({("mp4", "truehd")})  # FFmpeg's muxer wants -strict -2 for them
_SAMPLE_PACKETS, _SAMPLE_BYTES = 2000, 1 << 18
_MOST_PACKETS = 2000
_REFUSALS = (av.error.FFmpegError, ValueError, RuntimeError)


def add_twin(output: Any, stream: Any, template: Any = None) -> Any:
    """Add a stream like another one, with its tags and flags.

    Args:
        output: The output container of PyAV.
        stream: The stream of the input.
        template: A stream of the same codec with other parameters, which are taken instead.

    Raises:
        av.error.FFmpegError, ValueError: The container does not hold it; others only show when the header is written.
    """
    parameters = template or stream
    try:
        target = output.add_stream_from_template(parameters, opaque=True)
    except ValueError:
        target = _add_unlisted(output, parameters)
    carry_marks(output, stream, target)
    if output.format.name in ("mp4", "mov") and stream.type == "audio":
        _name_channels(target.codec_context)
    return target


def carry_marks(output: Any, stream: Any, target: Any) -> None:
    """Give a stream of an output the flags and tags of another one."""
    target.disposition = int(stream.disposition)
    copy_tags(stream, target)
    if output.format.name == "mov" and "language" in target.metadata:
        target.metadata["language"] = language_of_mov(target.metadata["language"])


def why_not_copyable(
    stream: Any, muxer: str, options: dict[str, str] | None = None, packets: Packets = tuple
) -> str | None:
    """Try a stream in a file of that kind in memory.

    Some muxers write what no reader finds again: transport streams take bytes of any kind, MOV the numbers of WAV.
    There the first packets are written and read back.

    Args:
        stream: The stream of the input.
        muxer: FFmpeg's name of the container.
        options: Of the muxer.
        packets: Gives the first packets of the stream; none are read back if it gives none.

    Returns:
        Why it does not fit, in a few words; None if it does.
    """
    with captured_log():
        fits = _fits(stream, muxer, options or {}, packets)
    if fits:
        return None
    if (muxer, stream.codec_context and stream.codec_context.name) in _EXPERIMENTAL:
        return "hardly a player finds it in MP4, where it is experimental (.mkv holds it)"
    better = " (.mkv holds nearly everything)" if muxer != "matroska" else ""
    return f"{muxer_word(muxer)} cannot hold it{better}"


def _fits(stream: Any, muxer: str, options: dict[str, str], packets: Packets) -> bool:
    if muxer == "mpegts" and stream.type == "subtitle":
        return stream.codec_context is not None and _canonical(stream) in _TS_SUBTITLES
    file = io.BytesIO()
    try:
        trial = av.open(file, "w", format=muxer, container_options=options)
        try:
            target = add_twin(trial, stream)
            trial.start_encoding()
            is_listed = target.codec_context is not None
            found = () if (is_listed and muxer not in _CARELESS) or stream.type == "subtitle" else packets()
            num_written = _write(trial, target, found)
        finally:
            _close_quietly(trial)
        return not found or (num_written > 0 and _is_read_back(stream, file, muxer))
    except _REFUSALS:
        return False


def _write(trial: Any, target: Any, packets: Sequence[Any]) -> int:
    num_written = 0
    for number, packet in enumerate(packets):
        packet.stream, packet.time_base = target, Fraction(1, 100)
        packet.pts = packet.dts = number
        with contextlib.suppress(av.error.FFmpegError):  # a damaged one
            trial.mux_one(packet)
            num_written += 1
    return num_written


def _is_read_back(stream: Any, file: io.BytesIO, muxer: str) -> bool:
    """Whether a file that a stream was written into has a stream of that kind, ready to be decoded."""
    file.seek(0)
    with av.open(file, format=_READERS.get(muxer, muxer), metadata_errors="replace") as container:
        return any(_is_same_codec(one, stream) and _opens(one) for one in container.streams if one.type == stream.type)


def _is_same_codec(one: Any, other: Any) -> bool:
    if one.codec_context is None or other.codec_context is None:
        return one.codec_context is other.codec_context
    names = {_canonical(one), _canonical(other)}
    return len(names) == 1 or names <= _MPEG_AUDIO


def _opens(stream: Any) -> bool:
    """Whether the decoder of a stream finds all that it needs to know."""
    if stream.codec_context is not None:
        stream.codec_context.open(strict=False)
    return True


def _canonical(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name)


def first_packets(container: Any, index: int) -> list[Any]:
    """Give the first packets of a stream that are not empty; none if they are far behind the beginning."""
    found: list[Any] = []
    num_bytes = 0
    with contextlib.suppress(av.error.FFmpegError):
        for packet in islice(container.demux(), _MOST_PACKETS):
            if packet.size and packet.stream.index == index:
                found.append(packet)
                num_bytes += packet.size
            if num_bytes >= _SAMPLE_BYTES or len(found) >= _SAMPLE_PACKETS:
                break
    return found


def _add_unlisted(output: Any, parameters: Any) -> Any:
    """Add a stream that FFmpeg's list of the container's codecs does not name; its muxer may take it nevertheless.

    As FFmpeg does it, the four-character code of the other container is kept only where the new one has none.
    """
    codec = parameters.codec_context
    with av.open(io.BytesIO(), "w", format=_CARRIER) as carrier:
        bare = parameters if codec is None else carrier.add_stream_from_template(parameters, opaque=True)
        source = bare if _has_number(output.format.name, bare) else parameters
        target = output.add_data_stream()
        av.BitStreamFilterContext("null", source, target)
    target.time_base = parameters.time_base
    return target


def _has_number(muxer: str, bare: Any) -> bool:
    """Whether a muxer has a number for the codec of a stream without one."""
    trial = av.open(io.BytesIO(), "w", format=muxer)
    try:
        target = trial.add_data_stream()
        av.BitStreamFilterContext("null", bare, target)
        target.time_base = bare.time_base
        trial.start_encoding()
    except _REFUSALS:
        return False
    finally:
        _close_quietly(trial)
    return True


def _close_quietly(container: Any) -> None:
    with contextlib.suppress(*_REFUSALS):
        container.close()


def _name_channels(context: Any) -> None:
    """Give channels that are merely counted the usual places: MP4 keeps no uncompressed sound without."""
    if context is None:
        return
    with contextlib.suppress(ValueError):  # no usual places for so many
        if context.layout.name.endswith(" channels"):
            context.layout = av.AudioLayout(f"{context.layout.nb_channels}c").name
