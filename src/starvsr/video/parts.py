"""Pieces of an unfinished output: runs of encoded frames in files, to be joined without encoding again.

A part holds what its own run of the encoder gave, packet by packet, with exact times, and begins with a keyframe
that nothing before it is needed for. The file: a line that names the format, the packets' bytes, an index in JSON
with a checksum for each packet, the index's length, a closing mark. Containers are of no use here: none of them
keeps all codecs, all clocks and the transparency of VP9, and the join needs no more than this.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from starvsr.errors import OutputError
from starvsr.video.convert import Frame
from starvsr.video.image_writer import ImageEncoder
from starvsr.video.output_files import as_output_error, sync_folder
from starvsr.video.output_format import OutputFormat, PictureEncoder

_HEAD = b"starvsr part 1\n"
_TAIL = b"end of part\n"
_LENGTH_BYTES = 8
_KEPT_SIDE_DATA = ("matroska_block_additional",)  # the transparency of VP9


class DamagedPartError(OutputError):
    """A part is missing, cut off, or not as it was written.

    Attributes:
        path: Its file.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: a finished part of the job is damaged ({why}); run the same command again")
        self.path = path


@dataclass(frozen=True)
class Packet:
    """An encoded picture.

    Attributes:
        data: Its bytes.
        pts: When it is shown, in ticks.
        duration: Ticks that it is shown.
        is_keyframe: Whether decoding can begin here.
        side_data: What goes beside it into the container, by FFmpeg's names.
    """

    data: bytes
    pts: int
    duration: int
    is_keyframe: bool = True
    side_data: tuple[tuple[str, bytes], ...] = ()

    def as_av(self) -> Any:
        """Give FFmpeg's packet, without a decoding time."""
        packet: Any = av.Packet(self.data)
        packet.pts, packet.duration = self.pts, self.duration
        packet.is_keyframe = self.is_keyframe
        for name, content in self.side_data:
            beside: Any = PacketSideData(packet_sidedata_type_from_literal(name), len(content))  # type: ignore[call-arg,arg-type]
            memoryview(beside)[:] = content
            packet.set_sidedata(beside)
        return packet


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


class PartWriter:
    """Encode a run of frames into a file of its own.

    The file is under its name, and on the disk, only when ``close`` has returned.

    Args:
        path: The file.
        form: What to encode to.
    """

    def __init__(self, path: Path, form: OutputFormat) -> None:
        self.num_frames = 0
        self._path = path
        self._form = form
        self._partial = path.with_name(f"{path.name}.partial")
        self._first_pts = 0
        self._durations: dict[int, int] = {}
        self._index: list[list[Any]] = []
        self._hash = hashlib.sha256()
        self._size = 0
        self._encoder: PictureEncoder | None = None
        self._images: ImageEncoder | None = None
        if form.is_images:
            self._images = ImageEncoder(form.path, form.options, form.bit_depth, form.alpha)
        else:
            self._encoder = PictureEncoder(form)
        with self._output_errors():
            self._file: BinaryIO = self._partial.open("wb")
        try:
            with self._output_errors():
                self._put(_HEAD)
        except BaseException:
            self.abort()
            raise

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
                self._store(Packet(self._images.encode(pixels), pts, duration))
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
            if len(self._index) != self.num_frames:
                raise OutputError(
                    f"{self._form.path}: the encoder gave {len(self._index)} of {self.num_frames} frames back"
                )
            index = json.dumps({"header": hashlib.sha256(header).hexdigest(), "packets": self._index}).encode()
            self._put(index)
            self._put(len(index).to_bytes(_LENGTH_BYTES, "big") + _TAIL)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._partial, self._path)
            sync_folder(self._path.parent)
        return PartFacts(
            self.num_frames, delay_of([entry[2] for entry in self._index]), self._size, self._hash.hexdigest()
        )

    def abort(self) -> None:
        """Throw away what was written; never raises."""
        self._encoder = None
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

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
            duration = self._durations.pop(pts)
            self._store(Packet(bytes(packet), pts, duration, packet.is_keyframe, beside))

    def _store(self, packet: Packet) -> None:
        content = packet.data + b"".join(data for _, data in packet.side_data)
        beside = [[name, len(data)] for name, data in packet.side_data]
        facts = [packet.pts, packet.duration, packet.is_keyframe]
        self._index.append([len(packet.data), zlib.crc32(content), *facts, beside])
        self._put(content)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


class Part:
    """A finished part.

    Args:
        path: Its file.

    Raises:
        DamagedPartError: It is missing, or its index is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                index = self._read_index(file)
                self.header_sha256: str = index["header"]
                self._entries: list[list[Any]] = index["packets"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedPartError(path, str(error) or type(error).__name__) from None

    @property
    def times(self) -> list[int]:
        """Times of its pictures in the order of showing."""
        return sorted(entry[2] for entry in self._entries)

    @property
    def durations(self) -> dict[int, int]:
        """Length of each picture by its time."""
        return {entry[2]: entry[3] for entry in self._entries}

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in the order of decoding, each checked.

        Raises:
            DamagedPartError: A packet is not as it was written.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(len(_HEAD))
                for size, checksum, pts, duration, is_keyframe, beside in self._entries:
                    data = file.read(size)
                    side_data = tuple((name, file.read(length)) for name, length in beside)
                    if zlib.crc32(data + b"".join(content for _, content in side_data)) != checksum:
                        raise DamagedPartError(self.path, "a checksum differs")
                    yield Packet(data, pts, duration, is_keyframe, side_data)
        except OSError as error:
            raise DamagedPartError(self.path, str(error.strerror)) from None

    @staticmethod
    def _read_index(file: BinaryIO) -> dict[str, Any]:
        if file.read(len(_HEAD)) != _HEAD:
            raise ValueError("it does not begin as a part does")
        end = file.seek(0, os.SEEK_END) - _LENGTH_BYTES - len(_TAIL)
        file.seek(max(end, 0))
        length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
        if file.read() != _TAIL or length > end:
            raise ValueError("it is cut off")
        file.seek(end - length)
        index: dict[str, Any] = json.loads(file.read(length))
        return index


def delay_of(times: Sequence[int]) -> int:
    """Say by how many pictures decoding must run ahead of showing, for times in the order of decoding.

    The picture shown as number j can be decoded as number i only where i - delay <= j.
    """
    place = {pts: number for number, pts in enumerate(sorted(times))}
    return max((number - place[pts] for number, pts in enumerate(times)), default=0)


def decoding_times(times: Iterator[int], delay: int) -> Iterator[int]:
    """Yield the decoding times that belong to pictures shown at ``times`` (increasing).

    They are the times of showing, ``delay`` pictures late; those before the first go on backwards in the same steps.
    This is what an encoder does for one long run, so borders between parts leave no trace in it.
    """
    head = []
    for time in times:
        head.append(time)
        if len(head) > delay:
            break
    shift = head[-1] - head[0] if head else 0
    yield from (time - shift for time in head[:delay])
    yield from head
    yield from times
