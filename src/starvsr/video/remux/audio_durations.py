"""How long a packet of sound is, where the container does not say.

Matroska tells no lengths of ALAC, and FFmpeg finds them by decoding alone. MP4 and MOV need that of the last
packet: their track would end where it begins, and players would not show it.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

_HEADER = struct.Struct(">4x4s4xI")  # size, "alac", version, samples of a whole packet
_MOST = 1 << 20
# A packet begins with: kind 3 bits, number 4, unused 12, whether it has a count 1, shift 2, not packed 1, count 32.
_SOUNDS = (0, 1, 3)  # kinds: one channel, two, the low one


def packet_length(stream: Any, packet: Any) -> int:
    """Give the length of a packet of sound in ticks of the packet, rounded up; 0 where it is not known.

    Args:
        stream: The stream of PyAV that it belongs to.
        packet: The packet.
    """
    context = stream.codec_context
    if stream.type != "audio" or context is None or context.name != "alac" or not context.sample_rate:
        return 0
    samples = alac_samples(bytes(context.extradata or b""), bytes(packet)[:7])
    return math.ceil(Fraction(samples, context.sample_rate) / packet.time_base)


def alac_samples(header: bytes, packet: bytes) -> int:
    """Give the samples of a channel in a packet of ALAC, those of a whole one where it tells no sensible number.

    Args:
        header: What the decoder begins with: the box ``alac``. Any other gives 0.
        packet: The packet, or its first 7 bytes.
    """
    if len(header) < _HEADER.size:
        return 0
    box, whole = _HEADER.unpack_from(header)
    if box != b"alac" or not 0 < whole <= _MOST:
        return 0
    bits = int.from_bytes(packet[:7].ljust(7, b"\0"), "big")
    kind, has_count, count = bits >> 53, bits >> 36 & 1, bits >> 1 & 0xFFFFFFFF
    is_told = kind in _SOUNDS and has_count and 0 < count <= whole
    return count if is_told else int(whole)
