"""Sound that begins before 0, as that of most MP4 files: Matroska has no such times, but a delay of the decoder.

Without it FFmpeg's writer would move all streams, the pictures too, until the first packet lies at 0. It takes the
delay from a field that PyAV cannot set, but that FFmpeg's reader of Matroska fills. So a header of the stream is made
in memory, the delay is put into it, and what is read from that is the template of the stream in the output.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from typing import Any

import av

from starvsr.video.info import VideoInfo
from starvsr.video.read.opening import open_input
from starvsr.video.remux.matroska_aspect import element_body

_HEADER, _SEGMENT, _TRACKS, _ENTRY = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"
_DELAY = b"\x56\xaa"
_EMPTY_CLUSTER = b"\x1f\x43\xb6\x75\x83\xe7\x81\x00"  # a reader wants one
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_LONGEST = Fraction(4)  # seconds that fit into the bytes used
_MOST_PACKETS = 2000  # in which the first one of each sound is looked for


def leads(info: VideoInfo) -> dict[int, Fraction]:
    """Find how many seconds before 0 each stream of sound begins; only those that do."""
    found: dict[int, Fraction] = {}
    with open_input(info.path, limits=info.limits) as container, contextlib.suppress(av.error.FFmpegError):
        left = {stream.index for stream in container.streams.audio}
        for packet in islice(container.demux(), _MOST_PACKETS):
            if packet.pts is not None and packet.stream.index in left:
                left.discard(packet.stream.index)
                found[packet.stream.index] = info.origin - packet.pts * Fraction(packet.time_base)
            if not left:
                break
    return {index: lead for index, lead in found.items() if 0 < lead < _LONGEST}


@contextmanager
def delayed(stream: Any, lead: Fraction, add: Callable[[Any, Any], Any]) -> Iterator[Any]:
    """Give a stream like another one whose decoder begins earlier; the other one where it has a delay already.

    Args:
        stream: The stream.
        lead: Seconds.
        add: Adds a stream like the second argument to the first, an output.
    """
    header = _with_delay(stream, lead, add)
    if header is None:
        yield stream
        return
    with av.open(io.BytesIO(header), format="matroska") as container:
        yield container.streams[0]


def _with_delay(stream: Any, lead: Fraction, add: Callable[[Any, Any], Any]) -> bytes | None:
    """Make a Matroska file with the header of a stream and nothing in it; None where that has a delay of its own."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        add(output, stream)
        output.start_encoding()
    data = file.getvalue()
    head, entry = element_body(data, _HEADER), element_body(data, _SEGMENT, _TRACKS, _ENTRY)
    if head is None or entry is None or element_body(entry, _DELAY) is not None:
        return None
    entry += _element(_DELAY, round(lead * 10**9).to_bytes(4, "big"))
    tracks = _element(_TRACKS, _element(_ENTRY, entry))
    return _element(_HEADER, head) + _SEGMENT + _UNKNOWN_SIZE + tracks + _EMPTY_CLUSTER


def _element(ident: bytes, body: bytes) -> bytes:
    return ident + (len(body) | 1 << 56).to_bytes(8, "big") + body
