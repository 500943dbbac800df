"""What happens around damaged packets and frames: an error, a gap, or the frame before once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from starvsr.errors import CorruptFrameError
from starvsr.video.info import VideoInfo
from starvsr.video.read.opening import has_arbitrary_clock, reason

_MAX_DAMAGED_PACKETS = 10_000
# these code pictures that are never shown, so a packet without a frame is no damage
_HIDDEN_FRAMES = frozenset({"vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9"})


@dataclass(frozen=True)
class Picture:
    """A decoded frame before conversion; ``image`` None repeats the one before (concealed damage)."""

    pts: int | None
    duration: int
    image: Any


class DamageControl:
    """Watch the packets and frames of one reading of a video.

    Args:
        info: The video.
        mode: ``error``, ``skip`` or ``conceal``.
        note: Called with what the user should know.
        fill_to: With ``conceal``: number of frames to end with when the last ones are damaged; None for no filling.
    """

    def __init__(self, info: VideoInfo, mode: str, note: Callable[[str], None], *, fill_to: int | None) -> None:
        self._info = info
        self._mode = mode
        self._note = note
        self._fill_to = fill_to
        self._step = max(1, round(1 / (info.frame_rate * info.time_base)))
        self._damaged = 0
        self._emitted = 0
        self._last_pts: int | None = None
        self._expected: list[int] = []
        self._watches = mode == "conceal" and info.has_timestamps and info.codec not in _HIDDEN_FRAMES

    def expect(self, packet: Any) -> None:
        """Remember a packet that should become a frame."""
        if self._watches and packet.pts is not None and packet.size and not packet.is_discard:
            self._expected.append(packet.pts)

    def on_file(self, error: BaseException) -> None:
        """Meet damage in the container itself: reading ends here.

        Raises:
            CorruptFrameError: With mode ``error``.
        """
        if self._mode == "error":
            raise CorruptFrameError(self._message(f"the file is damaged after frame {self._emitted}", reason(error)))
        self._note(f"{self._info.path.name}: damaged after frame {self._emitted}; the rest is missing")

    def on_packet(self, packet: Any, error: BaseException, explain: Callable[[], str | None]) -> None:
        """Meet a packet that the decoder refuses.

        Args:
            packet: The packet.
            error: What the decoder said.
            explain: Asked for a better reason than the decoder's error before an error is raised.

        Raises:
            CorruptFrameError: With mode ``error``, or after ten thousand of them.
        """
        if self._mode == "error":
            why = explain() or reason(error)
            raise CorruptFrameError(self._message(f"frame {self._emitted} cannot be decoded", why))
        self._damaged += 1
        if self._damaged > _MAX_DAMAGED_PACKETS:
            raise CorruptFrameError(f"{self._info.path}: damaged throughout; get another copy")

    def around(self, frame: Any) -> Iterator[Any]:
        """Yield repeats for frames that went missing before ``frame``, then the frame if it is to be kept.

        Raises:
            CorruptFrameError: The frame is damaged and the mode is ``error``.
        """
        if self._watches and frame.pts is not None:
            yield from self._missing_before(frame.pts)
        if frame.is_corrupt:
            self._on_damaged_frame()
            if self._mode == "skip" and self._emitted:
                return
        self._emitted += 1
        self._last_pts = frame.pts
        yield frame

    def rest(self) -> Iterator[Any]:
        """Yield repeats for what is missing at the end, and report."""
        if self._watches and self._emitted:
            yield from self._missing_before(None)
            most = self._emitted + _MAX_DAMAGED_PACKETS
            while self._damaged and self._fill_to is not None and self._emitted < min(self._fill_to, most):
                yield self._repeat((self._last_pts or 0) + self._step)
        if self._damaged:
            what = "mended or shown as the frame before" if self._mode == "conceal" else "left out"
            self._note(f"{self._info.path.name}: {self._damaged} damaged frames, {what}")

    def _missing_before(self, pts: int | None) -> Iterator[Picture]:
        """Yield repeats for expected frames that can no longer come, unless they are mere fields."""
        due = sorted(p for p in self._expected if pts is None or p < pts)
        self._expected = [p for p in self._expected if pts is not None and p > pts]
        room = Fraction(3, 4) * self._step if self._info.interlaced else 0
        for missing in due:
            after_last = self._last_pts is not None and missing - self._last_pts > room
            if after_last and (pts is None or pts - missing > room):
                self._damaged += 1
                yield self._repeat(missing)

    def _repeat(self, pts: int) -> Picture:
        self._emitted += 1
        self._last_pts = pts
        return Picture(pts, 0, None)

    def _on_damaged_frame(self) -> None:
        """Count a damaged frame, or raise; a broadcast cut out anywhere may begin with some."""
        is_beginning = self._emitted == 0 and has_arbitrary_clock(self._info.container)
        if self._mode == "error" and not is_beginning:
            raise CorruptFrameError(self._message(f"frame {self._emitted} is damaged", "the decoder had to guess"))
        self._damaged += 1

    def _message(self, what: str, why: str) -> str:
        return f"{self._info.path}: {what} ({why}); get another copy, or go on with on-corrupt=skip or =conceal"
