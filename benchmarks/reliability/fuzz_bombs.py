"""Inputs built to harm: bombs, lies, names that lead elsewhere, files that name other files.

Each is a function from the seeds of `benchmarks.reliability.fuzz_inputs` to a name and a content. All must be
refused with a message, or be done within the bounds.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.fuzz_inputs import png, png_chunk

Seeds = dict[str, bytes]
Bomb = Callable[[Seeds], tuple[str, bytes]]
BOMBS: dict[str, Bomb] = {}
_CLUSTER = b"\x1f\x43\xb6\x75"


def _bomb(name: str) -> Callable[[Bomb], Bomb]:
    def keep(function: Bomb) -> Bomb:
        BOMBS[name] = function
        return function

    return keep


def put(data: bytes, word: bytes, offset: int, number: int, width: int = 4) -> bytes:
    """Write a big-endian number behind the first place of a word."""
    start = data.index(word) + len(word) + offset
    return data[:start] + number.to_bytes(width, "big") + data[start + width :]


# ---- much from little


@_bomb("picture of 20000x20000 in few bytes")
def _large_picture(seeds: Seeds) -> tuple[str, bytes]:
    return "large.png", png(20_000, 20_000, pixels=bytes(1 << 20))


@_bomb("GIF of 65535x65535")
def _large_gif(seeds: Seeds) -> tuple[str, bytes]:
    data = seeds["a.gif"]
    return "large.gif", data[:6] + struct.pack("<HH", 65535, 65535) + data[10:]


@_bomb("animated WebP of 16384x16384")
def _large_webp(seeds: Seeds) -> tuple[str, bytes]:
    data = seeds["moving.webp"]
    return "large.webp", data[:24] + b"\xff\x3f\0\xff\x3f\0" + data[30:]


@_bomb("animated WebP without frames")
def _empty_webp(seeds: Seeds) -> tuple[str, bytes]:
    return "empty.webp", seeds["moving.webp"].replace(b"ANMF", b"ANMX")


@_bomb("text in a PNG that inflates a thousand times")
def _text_bomb(seeds: Seeds) -> tuple[str, bytes]:
    text = zlib.compress(bytes(100_000_000), 1)
    return "text.png", png(8, 8, extra=png_chunk(b"zTXt", b"Comment\0\0" + text))


@_bomb("many texts in a PNG that inflate together")
def _text_bombs(seeds: Seeds) -> tuple[str, bytes]:
    text = zlib.compress(bytes(3_000_000), 9)
    return "texts.png", png(8, 8, extra=png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + text) * 200)


@_bomb("colour profile in a PNG that inflates a thousand times")
def _profile_bomb(seeds: Seeds) -> tuple[str, bytes]:
    return "profile.png", png(8, 8, extra=png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 1)))


def _constant_samples(data: bytes, count: int, per_chunk: int) -> bytes:
    return put(put(put(data, b"stsz", 4, 7), b"stsz", 8, count), b"stsc", 12, per_chunk)


@_bomb("MP4 that promises 100 million samples")
def _samples(seeds: Seeds) -> tuple[str, bytes]:
    return "samples.mp4", _constant_samples(seeds["front.mp4"], 100_000_000, 100_000_000)


@_bomb("MP4 fragment that promises 100 million samples")
def _fragment(seeds: Seeds) -> tuple[str, bytes]:
    return "fragment.mp4", put(put(seeds["pieces.mp4"], b"trun", 0, 1), b"trun", 4, 100_000_000)


@_bomb("MP4 whose edit list shows a long track a thousand times")
def _edits(seeds: Seeds) -> tuple[str, bytes]:
    data = _constant_samples(seeds["front.mp4"], 1_000_000, 1_000_000)
    count = 1000
    edits = struct.pack(">II", 0, count) + struct.pack(">IIHH", 40_000_000, 0, 1, 0) * count
    box = struct.pack(">I4s", 8 + len(edits), b"elst") + edits
    return "edits.mp4", _replace_box(data, b"elst", box, (b"moov", b"trak", b"edts"))


def _replace_box(data: bytes, kind: bytes, box: bytes, parents: tuple[bytes, ...]) -> bytes:
    start = data.index(kind) - 4
    size = struct.unpack(">I", data[start : start + 4])[0]
    grown = len(box) - size
    data = data[:start] + box + data[start + size :]
    for parent in parents:
        place = data.index(parent)
        data = put(data, parent, -8, struct.unpack(">I", data[place - 4 : place])[0] + grown)
    return data


@_bomb("compressed MOV index of 4 GB")
def _compressed_index(seeds: Seeds) -> tuple[str, bytes]:
    body = zlib.compress(bytes(1_000_000))
    cmvd = struct.pack(">I4sI", 12 + len(body), b"cmvd", 0xFFFFFFF0) + body
    inner = struct.pack(">I4s4s", 12, b"dcom", b"zlib") + cmvd
    cmov = struct.pack(">I4s", 8 + len(inner), b"cmov") + inner
    return "packed.mov", struct.pack(">I4s", 8 + len(cmov), b"moov") + cmov + seeds["fields.mov"]


@_bomb("AVI that promises four billion frames")
def _many_frames(seeds: Seeds) -> tuple[str, bytes]:
    data = seeds["mjpeg.avi"]
    for word, offset in ((b"avih", 20), (b"strh", 36)):
        data = put(data, word, offset, 0xFFFFFFFF)
    return "many.avi", data


@_bomb("boxes in boxes in boxes")
def _deep(seeds: Seeds) -> tuple[str, bytes]:
    inner = b""
    for _ in range(3000):
        inner = struct.pack(">I4s", 8 + len(inner), b"udta") + inner
    return "deep.mp4", seeds["front.mp4"][:32] + struct.pack(">I4s", 8 + len(inner), b"moov") + inner


@_bomb("three hundred thousand empty boxes")
def _many_boxes(seeds: Seeds) -> tuple[str, bytes]:
    return "boxes.mp4", seeds["front.mp4"][:32] + struct.pack(">I4s", 8, b"skip") * 300_000


@_bomb("two hundred thousand tags in Matroska")
def _many_tags(seeds: Seeds) -> tuple[str, bytes]:
    simple = _element(b"\x67\xc8", _element(b"\x45\xa3", b"%07d") + _element(b"\x44\x87", b"some text"))
    body = b"".join(simple.replace(b"%07d", b"%07d" % number) for number in range(200_000))
    return "tags.mkv", _in_segment(seeds["ffv1.mkv"], _element(b"\x12\x54\xc3\x67", _element(b"\x73\x73", body)))


@_bomb("tags in tags in tags in Matroska")
def _deep_tags(seeds: Seeds) -> tuple[str, bytes]:
    body = b""
    for _ in range(2000):
        body = _element(b"\x67\xc8", _element(b"\x45\xa3", b"NAME") + _element(b"\x44\x87", b"text") + body)
    return "deep.mkv", _in_segment(seeds["ffv1.mkv"], _element(b"\x12\x54\xc3\x67", _element(b"\x73\x73", body)))


@_bomb("Matroska with a thousand streams")
def _many_streams(seeds: Seeds) -> tuple[str, bytes]:
    tracks = b"".join(
        _element(
            b"\xae",
            _element(b"\xd7", struct.pack(">H", number))
            + _element(b"\x73\xc5", struct.pack(">H", number))
            + _element(b"\x83", b"\x11")
            + _element(b"\x86", b"S_TEXT/UTF8"),
        )
        for number in range(10, 1010)
    )
    return "streams.mkv", _in_segment(seeds["ffv1.mkv"], _element(b"\x16\x54\xae\x6b", tracks))


def _element(number: bytes, body: bytes) -> bytes:
    return number + (len(body) | 1 << 56).to_bytes(8, "big") + body


def _in_segment(data: bytes, element: bytes) -> bytes:
    """Put an element of Matroska first into the segment, whose size becomes unknown."""
    start = data.index(b"\x18\x53\x80\x67") + 4
    return data[:start] + b"\x01" + b"\xff" * 7 + element + data[start + 8 :]


# ---- other sizes and times in mid-stream


@_bomb("size changes in mid-stream")
def _change(seeds: Seeds) -> tuple[str, bytes]:
    head = _mjpeg(seeds, 320, 240)
    return "change.mjpeg", seeds["raw.mjpeg"] + head + seeds["raw.mjpeg"]


@_bomb("size grows to 65000x65000 in mid-stream")
def _grows(seeds: Seeds) -> tuple[str, bytes]:
    return "grows.mjpeg", seeds["raw.mjpeg"] + _mjpeg(seeds, 65_000, 65_000)


def _mjpeg(seeds: Seeds, width: int, height: int) -> bytes:
    """Return the raw MJPEG frames with another size in their headers."""
    parts = seeds["raw.mjpeg"].split(b"\xff\xc0")
    return b"\xff\xc0".join([parts[0], *(p[:3] + struct.pack(">HH", height, width) + p[7:] for p in parts[1:])])


@_bomb("pieces of H.264 and H.265 one behind the other")
def _codecs(seeds: Seeds) -> tuple[str, bytes]:
    return "codecs.h264", seeds["raw.h264"] + seeds["raw.hevc"] + seeds["raw.h264"]


def _late(seeds: Seeds, time: int) -> bytes:
    """Return the Matroska file with another time of its cluster, which takes seven bytes more."""
    head, body, rest = _around_cluster(seeds["ffv1.mkv"])
    body = body.replace(b"\xe7\x81\x00", b"\xe7\x88" + time.to_bytes(8, "big"), 1)
    return _in_segment(head + _element(_CLUSTER, body) + rest, b"")


def _around_cluster(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what lies before the last cluster of a Matroska file, in it, and behind it."""
    start = data.rindex(_CLUSTER)
    head, tail = data[:start], data[start + len(_CLUSTER) :]
    width = 9 - tail[0].bit_length()
    size = int.from_bytes(tail[:width], "big") & ((1 << 7 * width) - 1)
    return head, tail[width : width + size], tail[width + size :]


@_bomb("a cluster that is smaller than its blocks")
def _small_cluster(seeds: Seeds) -> tuple[str, bytes]:
    head, body, rest = _around_cluster(seeds["ffv1.mkv"])
    element = _element(_CLUSTER, body[:-7]) + body[-7:]
    return "small.mkv", _in_segment(head + element + rest, b"")


@_bomb("a first frame after 146 million years")
def _far(seeds: Seeds) -> tuple[str, bytes]:
    return "far.mkv", _late(seeds, 2**62)


@_bomb("a first frame after 35,000 years")
def _later(seeds: Seeds) -> tuple[str, bytes]:
    return "later.mkv", _late(seeds, 2**50)


@_bomb("a first frame before the beginning of time")
def _before(seeds: Seeds) -> tuple[str, bytes]:
    return "before.mkv", _late(seeds, 2**63 + 5)


@_bomb("a gap of a century in front of the last frames")
def _gap(seeds: Seeds) -> tuple[str, bytes]:
    second = _late(seeds, 3_155_760_000_000)
    cluster = second[second.rindex(_CLUSTER) : second.rindex(b"\x1c\x53\xbb\x6b")]
    whole = _in_segment(seeds["ffv1.mkv"], b"")
    place = whole.rindex(b"\x1c\x53\xbb\x6b")
    return "gap.mkv", whole[:place] + cluster + whole[place:]


@_bomb("frames of 68 years")
def _slow(seeds: Seeds) -> tuple[str, bytes]:
    return "slow.mp4", put(put(seeds["front.mp4"], b"mdhd", 12, 1), b"stts", 12, 0x7FFFFFFF)


@_bomb("frame rate of four billion")
def _rate(seeds: Seeds) -> tuple[str, bytes]:
    return "rate.mp4", put(put(seeds["front.mp4"], b"mdhd", 12, 0xFFFFFFFF), b"stts", 12, 1)


@_bomb("frame rate of 2^32 over 1 in IVF")
def _ivf_rate(seeds: Seeds) -> tuple[str, bytes]:
    return "rate.ivf", put(seeds["a.ivf"], b"DKIF", 12, 0xFFFFFFFF)


@_bomb("picture shape of two billion to one")
def _shape(seeds: Seeds) -> tuple[str, bytes]:
    data = seeds["front.mp4"]
    box = data.index(b"pasp")
    return "shape.mp4", data[: box + 4] + struct.pack(">II", 0x7FFFFFFF, 1) + data[box + 12 :]


@_bomb("duration that is a number of a billion digits")
def _long_number(seeds: Seeds) -> tuple[str, bytes]:
    return "digits.mkv", re.sub(rb"00:00:0[0-9.]{11}", b"0:0:1e999999999999", seeds["ffv1.mkv"])


@_bomb("duration that is divided by nothing")
def _nothing(seeds: Seeds) -> tuple[str, bytes]:
    return "nothing.mkv", re.sub(rb"00:00:0[0-9.]{11}", b"0:0:000000000001/0", seeds["ffv1.mkv"])


# ---- names, words, other files


@_bomb("tags that steer the terminal")
def _steering(seeds: Seeds) -> tuple[str, bytes]:
    data = seeds["front.mp4"].replace(b"A comment", b"\x1b]0;xx\x07\x9b2")
    return "steer.mp4", data.replace(b"A title", b"\x1b[2J\r\n.")


@_bomb("attachment named ../../../outside")
def _attachment(seeds: Seeds) -> tuple[str, bytes]:
    return "attached.mkv", seeds["a.mkv"].replace(b"font.ttf", b"../../xx").replace(b"font/ttf", b"a/../b\0c")


@_bomb("playlist that names another file")
def _playlist(seeds: Seeds) -> tuple[str, bytes]:
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n"
    return "list.m3u8", lines.encode()


@_bomb("playlist that names an address")
def _address(seeds: Seeds) -> tuple[str, bytes]:
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    return "net.m3u8", lines.encode()


@_bomb("ffconcat that names another file")
def _concat(seeds: Seeds) -> tuple[str, bytes]:
    return "list.mp4", b"ffconcat version 1.0\nfile other.ts\n"


@_bomb("SDP that names an address")
def _sdp(seeds: Seeds) -> tuple[str, bytes]:
    return "a.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"


@_bomb("DASH manifest that names another file")
def _dash(seeds: Seeds) -> tuple[str, bytes]:
    body = b"<AdaptationSet><Representation id='1'><BaseURL>other.mp4</BaseURL></Representation></AdaptationSet>"
    return "a.mpd", b"<?xml version='1.0'?><MPD type='static'><Period>" + body + b"</Period></MPD>"


@_bomb("MP4 whose samples lie in another file")
def _reference(seeds: Seeds) -> tuple[str, bytes]:
    data = seeds["front.mp4"]
    start = data.index(b"url ")
    return "reference.mp4", put(data[:start] + b"alis" + data[start + 4 :], b"alis", 0, 0)


def files(seeds: Seeds) -> list[tuple[str, str, bytes]]:
    """Return what each bomb is, the name of its file, and the content."""
    return [(what, *build(seeds)) for what, build in BOMBS.items()]


def write(folder: Path, what: str, seeds: Seeds) -> Path:
    """Write one of them into a folder."""
    name, data = BOMBS[what](seeds)
    path = folder / name
    path.write_bytes(data)
    return path
