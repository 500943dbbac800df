"""Which encoder sound gets that a container cannot hold as it is, and with what settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from starvsr.video.read.opening import captured_log
from starvsr.video.remux.stream_twin import carry_marks
from starvsr.video.remux.tags import stream_words
from starvsr.video.write.containers import muxer_word

# for sound that lost something already, and for sound that did not
_CODERS = {
    "mp4": ("aac", "flac"),
    "mov": ("aac", "alac"),
    "matroska": ("aac", "flac"),
    "webm": ("libopus", "libopus"),
    "mpegts": ("aac", "aac"),
    "avi": ("pcm_s16le", "pcm_s16le"),
}
_WORDS = {"aac": "AAC", "flac": "FLAC", "alac": "ALAC", "libopus": "Opus"}
_BITS_PER_CHANNEL = {"aac": 96_000, "libopus": 80_000}
# layouts that encoders know under another name, with the same speakers in other words
_TWIN_LAYOUTS = {
    "5.1(side)": "5.1",
    "5.1": "5.1(side)",
    "5.0(side)": "5.0",
    "5.0": "5.0(side)",
    "quad(side)": "quad",
    "6.1(back)": "6.1",
    "7.1(wide)": "7.1",
    "7.1(wide-side)": "7.1",
}
_OPUS_RATE = 48000


@dataclass(frozen=True)
class SoundCoder:
    """How sound is coded.

    Attributes:
        codec: FFmpeg's name of the encoder.
        rate: Samples per second.
        layout: FFmpeg's name of the channels.
        sample_format: FFmpeg's name of the samples that the encoder takes.
        note: What the user should know beside the codec.
    """

    codec: str
    rate: int
    layout: str
    sample_format: str
    note: str = ""


def coder_word(muxer: str, stream: Any) -> str:
    """Name what sound would be coded as."""
    codec = _codec_for(muxer, stream.codec_context.codec)
    return _WORDS.get(codec, "uncompressed sound")


def coder_for(muxer: str, stream: Any) -> SoundCoder | None:
    """Choose how a stream is coded; None where it cannot be decoded, or no encoder takes it."""
    context = stream.codec_context
    if stream.type != "audio" or context is None or muxer not in _CODERS or not context.sample_rate:
        return None
    codec = _codec_for(muxer, context.codec)
    is_deep = context.format is not None and context.format.bytes > 2
    if codec == "pcm_s16le" and is_deep and context.codec.lossless and not context.codec.lossy:
        codec = "pcm_s24le"
    rate = _rate_for(codec, context.sample_rate)
    for layout in _layouts(context.layout):
        coder = SoundCoder(codec, rate, layout, _sample_format(codec, is_deep), _layout_note(context.layout, layout))
        if _opens(coder):
            return coder
    return None


def add_sound(output: Any, coder: SoundCoder, stream: Any) -> Any:
    """Add a stream with an encoder to an output, with the flags and tags of a stream of the input."""
    target = output.add_stream(coder.codec, rate=coder.rate)
    _set_up(target.codec_context, coder)
    target.time_base = target.codec_context.time_base
    carry_marks(output, stream, target)
    return target


def sound_note(stream: Any, muxer: str, coder: SoundCoder) -> str:
    """Say what becomes of a stream of sound."""
    kind = _WORDS.get(coder.codec, f"uncompressed sound of {24 if coder.codec == 'pcm_s24le' else 16} bits")
    where = f"stream {stream.index} ({stream_words(stream)})"
    return f"{where} is coded anew as {kind}, as asked: {muxer_word(muxer)} cannot hold it{coder.note}"


def _codec_for(muxer: str, codec: Any) -> str:
    return _CODERS[muxer][1 if codec.lossless and not codec.lossy else 0]


def _sample_format(codec: str, is_deep: bool) -> str:
    if codec in ("flac", "alac"):
        return ("s32" if is_deep else "s16") + ("p" if codec == "alac" else "")
    return {"aac": "fltp", "libopus": "flt", "pcm_s24le": "s32"}.get(codec, "s16")


def _rate_for(codec: str, rate: int) -> int:
    if codec == "libopus":
        return _OPUS_RATE
    known = av.Codec(codec, "w").audio_rates
    if not known or rate in known:
        return rate
    return min((one for one in known if one > rate), default=max(known))


def _layouts(layout: Any) -> Iterator[str]:
    """List the channels to try: as they are, under another name, the usual ones for as many, and at last two."""
    name = layout.name
    if not name.endswith(" channels"):
        yield name
        if name in _TWIN_LAYOUTS:
            yield _TWIN_LAYOUTS[name]
    with contextlib.suppress(ValueError):  # no usual places for so many
        yield av.AudioLayout(f"{layout.nb_channels}c").name
    yield "stereo"


def _layout_note(before: Any, after: str) -> str:
    if av.AudioLayout(after).nb_channels == before.nb_channels:
        return ""
    return f"; its {before.nb_channels} channels ({before.name}) become {after}"


def _set_up(context: Any, coder: SoundCoder) -> None:
    context.layout = coder.layout
    context.format = coder.sample_format
    context.sample_rate = coder.rate
    context.time_base = Fraction(1, coder.rate)
    bits = _BITS_PER_CHANNEL.get(coder.codec)
    if bits is not None:
        context.bit_rate = bits * av.AudioLayout(coder.layout).nb_channels
    context.options = {**context.options, "flags": "+bitexact"}


def _opens(coder: SoundCoder) -> bool:
    try:
        with captured_log():
            context: Any = av.CodecContext.create(coder.codec, "w")
            _set_up(context, coder)
            context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True
