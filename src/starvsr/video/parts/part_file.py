"""Pieces of an unfinished output: runs of encoded frames in files, to be joined without encoding again.

A part holds what its own run of the encoder gave, packet by packet, with exact times, and begins with a keyframe
that nothing before it is needed for. The file: a line that names the format, the packets' bytes, an index with a
checksum for each packet, the index's length, a closing mark. Containers are of no use here: none of them keeps all
codecs, all clocks and the transparency of VP9, and the join needs no more than this.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av

from starvsr.errors import OutputError
from starvsr.video.convert import Frame
from starvsr.video.parts.packets import (
    DamagedPartError,
    Entry,
    Packet,
    StoredPart,
    delay_of,
    pack_entries,
    unpack_entries,
)
from starvsr.video.write.output_format import OutputFormat, PictureEncoder
from starvsr.video.write.publish import as_output_error, sync_folder
from starvsr.video.write.still_encoder import ImageEncoder

_HEAD = b"starvsr part 2\n"
_TAIL = b"end of part\n"
_LENGTH_BYTES = 8
_KEPT_SIDE_DATA = ("matroska_block_additional",)  # the transparency of VP9


@dataclass(frozen=True)
class PartFacts:
    """What is known of a finished part.

    Attributes:
        num_frames: Frames in it.
        delay: By how many pictures the order of decoding runs ahead of the order of showing.
        size: Bytes of its file.
        sha256: Of its file.
    """

    num_frames: int
    delay: int
    size: int
    sha256: str


class PartFile:
    """Write packets into the file of a part, which is under its name, and on the disk, only when `close` returned.

    Args:
        path: The file.

    Raises:
        OSError: As all methods do when the disk is full or gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._entries: list[Entry] = []
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: BinaryIO = self._partial.open("wb")
        try:
            self._put(_HEAD)
        except BaseException:
            self.abort()
            raise

    @property
    def num_packets(self) -> int:
        """Packets so far."""
        return len(self._entries)

    def add(self, packet: Packet) -> None:
        """Add a packet."""
        self._entries.append(Entry.of(packet))
        self._put(packet.content)

    def close(self, header_sha256: str) -> PartFacts:
        """Write the index and give the file its name."""
        index = pack_entries(self._entries, header=header_sha256)
        self._put(index)
        self._put(len(index).to_bytes(_LENGTH_BYTES, "big") + _TAIL)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._partial, self._path)
        sync_folder(self._path.parent)
        delay = delay_of([entry.pts for entry in self._entries])
        return PartFacts(len(self._entries), delay, self._size, self._hash.hexdigest())

    def abort(self) -> None:
        """Throw away what was written; never raises."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


class PartWriter:
    """Encode a run of frames into a file of its own.

    Args:
        path: The file.
        form: What to encode to.
    """

    def __init__(self, path: Path, form: OutputFormat) -> None:
        self.num_frames = 0
        self._form = form
        self._first_pts = 0
        self._durations: dict[int, int] = {}
        self._encoder: PictureEncoder | None = None
        self._images: ImageEncoder | None = None
        if form.holds_stills:
            self._images = ImageEncoder(form)
        else:
            self._encoder = PictureEncoder(form)
        with self._output_errors():
            self._file = PartFile(path)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Encode the next frame.

        Args:
            pixels: [height, width, 3 or 4] uint8, or uint16 (0..65535).
            pts: When it is shown, in ticks; must increase.
            duration: Ticks that it is shown.

        Raises:
            OutputNotWritableError: The disk is full or gone.
        """
        with self._output_errors():
            if self._images is not None:
                self._images.check_room(self.num_frames)
                self._file.add(Packet(self._images.encode(pixels), pts, duration))
            else:
                if self.num_frames == 0:
                    self._first_pts = pts  # encoders count from 0: some mind where a run begins
                self._durations[pts] = duration
                assert self._encoder is not None
                self._take(self._encoder.encode(pixels, pts - self._first_pts))
        self.num_frames += 1

    def close(self) -> PartFacts:
        """Flush everything to the disk and give the file its name.

        Raises:
            OutputNotWritableError: The disk is full or gone.
            OutputError: The encoder swallowed frames.
        """
        with self._output_errors():
            header = b""
            if self._encoder is not None:
                self._take(self._encoder.flush())
                header = self._encoder.header
                self._encoder = None  # its memory is needed by the next one
            if self._file.num_packets != self.num_frames:
                raise OutputError(
                    f"{self._form.path}: the encoder gave {self._file.num_packets} of {self.num_frames} frames back"
                )
            return self._file.close(hashlib.sha256(header).hexdigest())

    def abort(self) -> None:
        """Throw away what was written; never raises."""
        self._encoder = None
        self._file.abort()

    @contextlib.contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise as_output_error(self._form.path, error) from None

    def _take(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            pts = packet.pts + self._first_pts
            beside = tuple(
                (name, bytes(packet.get_sidedata(name))) for name in _KEPT_SIDE_DATA if packet.has_sidedata(name)
            )
            self._file.add(Packet(bytes(packet), pts, self._durations.pop(pts), packet.is_keyframe, beside))


class Part(StoredPart):
    """A finished part in its file.

    Args:
        path: The file.

    Raises:
        DamagedPartError: It is missing, or its index is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._entries, told = unpack_entries(_read_index(file))
                self.header_sha256: str = told["header"]
        except (OSError, ValueError, KeyError) as error:
            raise DamagedPartError(path, str(error) or type(error).__name__) from None

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in the order of decoding, each checked.

        Raises:
            DamagedPartError: A packet is not as it was written.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(len(_HEAD))
                for entry in self._entries:
                    yield entry.packet(file.read(entry.num_bytes))
        except (OSError, ValueError) as error:
            raise DamagedPartError(self.path, getattr(error, "strerror", None) or str(error)) from None


def copy_part(part: StoredPart, path: Path) -> PartFacts:
    """Write a part into a file of its own.

    Raises:
        DamagedPartError: A packet is not as it was written.
        OSError: The disk is full or gone.
    """
    file = PartFile(path)
    try:
        for packet in part.packets():
            file.add(packet)
        return file.close(part.header_sha256)
    except BaseException:
        file.abort()
        raise


def _read_index(file: BinaryIO) -> bytes:
    if file.read(len(_HEAD)) != _HEAD:
        raise ValueError("it does not begin as a part does")
    end = file.seek(0, os.SEEK_END) - _LENGTH_BYTES - len(_TAIL)
    file.seek(max(end, 0))
    length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
    if file.read() != _TAIL or length > end:
        raise ValueError("it is cut off")
    file.seek(end - length)
    return file.read(length)
