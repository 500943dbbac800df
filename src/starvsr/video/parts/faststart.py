"""What must be known before parts are joined into a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import av

from starvsr.errors import OutputError
from starvsr.video.parts.join_file import CountedFile
from starvsr.video.parts.part_file import StoredPart
from starvsr.video.read.opening import captured_log
from starvsr.video.write.container import FileSink
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.publish import as_output_error

_FIRST_BYTES, _MOST_BYTES = 1 << 20, 1 << 30


def measure_moov(
    form: OutputFormat,
    parts: Sequence[Callable[[], StoredPart]],
    delay: int,
    *,
    time_range: tuple[Fraction, Fraction | None] | None,
    comment: str | None,
    refused: Mapping[int, str] | None = None,
) -> int:
    """Return the bytes that the index needs in front of the pictures, by writing all of it to nowhere once.

    Raises:
        DamagedPartError: A part is not as it was written.
        OutputError: The index does not fit.
    """
    if form.muxer not in ("mp4", "mov") or not form.options.faststart:
        return 0
    moov_bytes = _FIRST_BYTES
    while moov_bytes <= _MOST_BYTES:
        file = CountedFile()
        sink = FileSink(
            form, form.path, time_range=time_range, comment=comment, join=file, moov_bytes=moov_bytes, refused=refused
        )
        try:
            sink.append(parts, delay)
            with captured_log():
                sink.write_end()
        except av.error.ArgumentError:  # too few
            sink.abort()
        except av.error.FFmpegError as error:
            sink.abort()
            raise as_output_error(form.path, error) from None
        except BaseException:
            sink.abort()
            raise
        found = file.index_bytes()
        if found is not None:
            return found + 8  # behind it lies at least the head of an empty box
        moov_bytes *= 4
    raise OutputError(f"{form.path}: its index does not fit in front; write .mkv")
