"""A name is a name of one file, whatever it looks like and whatever that file names."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest
from PIL import Image

from starvsr.errors import InputError, UnreadableInputError
from starvsr.video import probe
from tests.video.clips import make_clip
from tests.video.frames import read


def test_names_that_are_no_text(tmp_path: Path) -> None:
    import starvsr

    path = make_clip(tmp_path / "a.mp4", count=3).rename(tmp_path / "a\udcff.mp4")
    out = tmp_path / "b\udcfe.mp4"
    assert starvsr.upscale(path, out, model="bicubic", scale=1, threads=1).num_frames == 3
    assert out.exists()


def test_playlists_open_nothing_else(tmp_path: Path) -> None:
    make_clip(tmp_path / "other.ts")
    make_clip(tmp_path / "other.mp4")
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n",
        "b.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "c.mp4": "ffconcat version 1.0\nfile other.mp4\n",
        "d.txt": "\n\nffconcat version 1.0\nfile other.mp4\n",
        "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "f.mpd": "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>other.mp4</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableInputError) as caught:
            probe(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name == "d.txt" or "give the media file itself" in str(caught.value)


def test_without_our_rules_the_same_list_opens_the_other_file(tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    make_clip(tmp_path / "other.mp4")
    (tmp_path / "c.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert container.format.name == "concat" and container.streams.video[0].width == 64


@pytest.mark.parametrize("name", ["a%03d.png", "a{b}.png", "a*.png", "concat:b.png", "http:b.png", "-i.png"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / name, format="png")
    for other in ("a000.png", "a001.png", "ab.png", "b.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / other)
    assert (probe(tmp_path / name).width, len(read(tmp_path / name))) == (20, 1)


def test_references_of_mov_files_are_not_followed(tmp_path: Path) -> None:
    make_clip(tmp_path / "other.mp4")
    data = make_clip(tmp_path / "a.mp4", container_options={"movflags": "+faststart"}).read_bytes()
    where = str(tmp_path / "other.mp4").encode() + b"\0"
    entry = struct.pack(">I4sI", 12 + len(where), b"url ", 0) + where
    start = data.index(b"url ") - 4
    data = data[:start] + entry + data[start + 12 :]
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(parent) - 4
        data = data[:at] + struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + len(where)) + data[at + 4 :]
    mdat = data.index(b"mdat")
    (tmp_path / "a.mp4").write_bytes(data[: mdat + 4] + bytes(len(data) - mdat - 4))
    with pytest.raises(InputError):  # the pictures are zeros here, and the other file's are not taken in their place
        read(tmp_path / "a.mp4")
