"""``AnimationWriter``: frames into an animated GIF, WebP or PNG, each coded independently, in constant memory."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from starvsr.video.convert import Frame
from starvsr.video.info import PhotoData
from starvsr.video.write.apng_file import ApngFile, delay_parts
from starvsr.video.write.gif_file import GifFile
from starvsr.video.write.images import stream_notes
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.photo_metadata import png_with
from starvsr.video.write.publish import discard
from starvsr.video.write.still_encoder import ImageEncoder
from starvsr.video.write.webp_file import WebpFile, still_webp

_TICKS = {".gif": 100, ".webp": 1000, ".apng": None}  # in a second
_SHORTEST_GIF = 2  # hundredths; players show what is shorter more slowly


class AnimationWriter:
    """Take frames, write one animated file; of a single frame a still.

    Args:
        form: The output.
        encoder: Codes the frames.
        partial: The file to write.
        keep: Whether it stays when all is given up.
    """

    def __init__(self, form: OutputFormat, encoder: ImageEncoder, partial: Path, *, keep: bool = False) -> None:
        self._form = form
        self._encoder = encoder
        self._partial = partial
        self._keep = keep
        self._suffix = form.path.suffix.lower()
        self._first: tuple[bytes, Fraction, Fraction] | None = None
        self._has_begun = False
        self._zero: int | None = None
        self._told: set[str] = set()
        self.notes = [*stream_notes(form.path, form.source), *encoder.notes]
        source = form.source
        self._photo = source.photo if source is not None else PhotoData()
        plays = source.num_plays if source is not None and source.num_plays is not None else 0
        alpha = form.alpha and form.options.alpha == "keep"
        self._file: BinaryIO = partial.open("wb")
        size = (form.width, form.height)
        self._whole: GifFile | WebpFile | ApngFile
        if self._suffix == ".gif":
            self._whole = GifFile(self._file, size, plays, alpha=alpha)
            if alpha:
                self.notes.append(f"{form.path.name}: GIF knows only opaque and transparent; .webp keeps the shades")
        elif self._suffix == ".webp":
            self._whole = WebpFile(self._file, size, plays, self._photo, alpha=alpha)
        else:
            self._whole = ApngFile(self._file, size, plays, self._photo)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write a frame; ``pts`` and ``duration`` are in ticks of the output's time base."""
        self.add(self._encoder.encode(pixels), pts, duration)

    def add(self, image: bytes, pts: int, duration: int) -> None:
        """Write a frame that is coded already."""
        self._zero = pts if self._zero is None else self._zero
        base = self._form.time_base
        start, stop = (pts - self._zero) * base, (pts - self._zero + duration) * base
        if self._first is None and not self._has_begun:
            self._first = image, start, stop
            return
        self._flush_first()
        self._put(image, start, stop)

    def finish(self) -> None:
        """Complete the file; it keeps its partial name."""
        if self._first is not None:
            self._write_still(self._first[0])
        else:
            self._whole.end()
        self._file.close()

    def abort(self) -> None:
        """Remove what was written."""
        self._file.close()
        if not self._keep:
            discard(self._partial)

    def _flush_first(self) -> None:
        first, self._first = self._first, None
        if first is None:
            return
        self._has_begun = True
        if isinstance(self._whole, GifFile):
            self._whole.begin(is_still=False)
        elif isinstance(self._whole, WebpFile):
            self._whole.begin()
        self._put(*first)

    def _put(self, image: bytes, start: Fraction, stop: Fraction) -> None:
        delay = self._delay(start, stop)
        if isinstance(self._whole, ApngFile):
            self._whole.add(image, delay)
        else:
            self._whole.add(image, int(delay))

    def _write_still(self, image: bytes) -> None:
        if isinstance(self._whole, GifFile):
            self._whole.begin(is_still=True)
            self._whole.add(image, 0)
            self._whole.end()
        elif isinstance(self._whole, WebpFile):
            self._file.write(still_webp(image, self._photo))
        else:
            self._file.write(png_with(image, self._photo))

    def _delay(self, start: Fraction, stop: Fraction) -> Fraction:
        """Give the length of a frame: ticks of the format, so that all together never drift; seconds for APNG."""
        ticks = _TICKS[self._suffix]
        if ticks is None:
            if Fraction(*delay_parts(stop - start)) != stop - start:
                self._note("times are rounded to 1/1000 s, as APNG counts them")
            return stop - start
        delay = round(stop * ticks) - round(start * ticks)
        if (stop * ticks).denominator != 1:
            self._note(f"times are rounded to 1/{ticks} s; all together they are off by no more than that")
        if self._suffix == ".gif" and delay < _SHORTEST_GIF:
            self._note("players show frames of less than 0.02 s more slowly; write .webp or a video")
        return Fraction(max(delay, 1))

    def _note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.notes.append(f"{self._form.path.name}: {text}")
