"""The times of copied packets in the output, by the rules of its container and as FFmpeg's own stream copy keeps them.

Sound is counted in samples: where the input's ticks are coarser than the output's (Matroska's milliseconds), the times
that were rounded away come back. Decoding times must not go back; in MP4 and MOV they must increase, in Matroska equal
ones are allowed. A time that must be moved is moved to the next one that is allowed, and the ones behind it are not.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

_NONSTRICT = 0x20000  # FFmpeg's flag of a container: AVFMT_TS_NONSTRICT
_SAMPLES = {"ac3": 1536}  # of a packet, where the headers do not say
_COUNTED = ("mp4", "mov")  # their tracks end where the last packet does, so it needs a length


class OutputTimes:
    """Turns the times of one stream's packets into the output's.

    Args:
        source: The stream of the input.
        target: The stream of the output, whose header is written.
        output: The output.

    Attributes:
        num_moved: Packets whose time was not allowed.
    """

    def __init__(self, source: Any, target: Any, output: Any) -> None:
        self._base = Fraction(target.time_base)
        self._least = 0 if output.format.flags & _NONSTRICT else 1
        self._is_sound = source.type == "audio"
        self._needs_length = self._is_sound and output.format.name in _COUNTED
        context = source.codec_context if self._is_sound else None
        self._rate = context.sample_rate or 0 if context is not None else 0
        self._context = context
        self._next_sample: int | None = None
        self._last: int | None = None
        self._end: int | None = None
        self.num_moved = 0

    def set(self, packet: Any) -> None:
        """Give a packet its times in ticks of the output."""
        base = Fraction(packet.time_base)
        samples = self._samples(packet)
        dts = self._decoding(packet, base, samples)
        pts = packet.pts if packet.pts is None else round(packet.pts * base / self._base)
        if self._is_sound:
            pts = dts if packet.pts is not None or packet.dts is not None else None
        duration = round(packet.duration * base / self._base) if packet.duration else 0
        if not duration and self._needs_length and samples:
            duration = round(Fraction(samples, self._rate) / self._base)
        packet.pts, packet.dts = self._allowed(pts, dts)
        packet.duration = duration
        packet.time_base = self._base
        self._end = None if packet.dts is None else packet.dts + duration

    def _decoding(self, packet: Any, base: Fraction, samples: int) -> int | None:
        dts = packet.dts if packet.dts is not None else packet.pts if self._is_sound else None
        if dts is None:
            return self._end
        if self._is_sound and self._rate:
            return self._sample_time(dts, base, samples)
        return round(dts * base / self._base)

    def _sample_time(self, dts: int, base: Fraction, samples: int) -> int:
        """Go on from the packet before, sample by sample, as long as that is what the rounded time may mean."""
        rate = self._rate
        exact = dts * base
        expected = self._next_sample
        if expected is not None and samples and base > self._base:
            first, last = floor((exact - base / 2) * rate), ceil((exact + base / 2) * rate)
            spread = last - first
            if first - spread <= expected <= last + spread:
                sample = min(max(expected, first), last)
                self._next_sample = sample + samples
                return round(Fraction(sample, rate) / self._base)
        self._next_sample = round(exact * rate) + samples
        return round(exact / self._base)

    def _samples(self, packet: Any) -> int:
        """Say how many samples of a channel a packet holds; 0 where that is not known beforehand."""
        context = self._context
        if context is None:
            return 0
        if context.frame_size:
            return int(context.frame_size)
        if context.name == "flac":
            return _flac_samples(bytes(context.extradata or b""))
        if context.name.startswith("pcm_") and context.format is not None and context.layout.nb_channels:
            return int(packet.size // max(1, _stored_bytes(context.name) * context.layout.nb_channels))
        return _SAMPLES.get(context.name, 0)

    def _allowed(self, pts: int | None, dts: int | None) -> tuple[int | None, int | None]:
        """Move what the container would refuse."""
        if dts is None:
            return pts, dts
        last = self._last
        least = dts if last is None else max(dts, last + self._least)
        if pts is not None and pts < dts:  # what is decoded after it is shown
            values = (pts, dts, pts if last is None else last + 1)
            dts = pts = sorted(values)[1]
            least = dts if last is None else max(dts, last + self._least)
            self.num_moved += 1
        elif least != dts:
            self.num_moved += 1
        if least != dts:
            pts = None if pts is None else max(pts, least)
            dts = least
        self._last = dts
        return pts, dts


def _flac_samples(header: bytes) -> int:
    """Samples of a packet by FLAC's STREAMINFO, which begins with the fewest and the most; 0 where they differ."""
    fewest, most = header[:2], header[2:4]
    return int.from_bytes(most, "big") if fewest == most else 0


def _stored_bytes(codec: str) -> int:
    """Bytes of a sample of uncompressed sound, by its name (``pcm_s24le``); 1 where that holds no number."""
    digits = "".join(char for char in codec.removeprefix("pcm_").split("_")[0] if char.isdigit())
    return max(1, int(digits) // 8) if digits else 1
