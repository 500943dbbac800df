"""Try an output before the first frame is computed: header, other streams and end, written to nowhere.

What a container refuses, it refuses here: the encoder is opened, the header is made with the video's rate, time base
and tags, and every packet that will be copied goes through the muxer. Only the pictures are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av

from starvsr.errors import OptionError
from starvsr.video.parts.join_file import CountedFile
from starvsr.video.read.opening import captured_log, reason
from starvsr.video.write.container import FileSink
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.publish import as_output_error


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        notes: What the user should know.
        refused: Why a stream cannot be written, by its index in the input: found by its packets, not by its kind.
    """

    notes: tuple[str, ...]
    refused: Mapping[int, str]


def try_output(
    form: OutputFormat,
    *,
    time_range: tuple[Fraction, Fraction | None] | None,
    comment: str | None,
    tick: Callable[[], None] | None = None,
) -> Trial:
    """Write all but the pictures to nowhere.

    Args:
        form: What the output is made of; no images.
        time_range: The part of the input that is read; None for all of it.
        comment: Text for the comment tag.
        tick: Called once in a while; may raise to give up.

    Raises:
        OptionError: The encoder refuses its settings, or a stream must be left out that the options want.
        OutputError: The container refuses the video itself.
    """
    problem, notes, places = _once(form, time_range, comment, {}, tick)
    if problem is None:
        return Trial(notes, {})
    refused: dict[int, str] = {}
    for index in places:  # packets wait for each other in the muxer, so the one it stopped at may not be the one
        alone = dict.fromkeys(places - {index}, "")
        found, _, _ = _once(form, time_range, comment, alone, tick)
        if found is not None:
            refused[index] = f"{form.path.suffix[1:].upper()} refuses its packets ({reason(found)})"
    if refused and form.options.missing_streams == "error":
        told = "; ".join(f"stream {index}: {why}" for index, why in sorted(refused.items()))
        raise OptionError(f"{form.path.name}: {told}; choose .mkv, or give --missing-streams note")
    problem, notes, _ = _once(form, time_range, comment, refused, tick)
    if problem is not None:
        raise as_output_error(form.path, problem)
    return Trial(notes, refused)


def _once(
    form: OutputFormat,
    time_range: tuple[Fraction, Fraction | None] | None,
    comment: str | None,
    refused: Mapping[int, str],
    tick: Callable[[], None] | None,
) -> tuple[Exception | None, tuple[str, ...], set[int]]:
    """Try once; gives what went wrong, the notes, and the streams that were copied."""
    sink = FileSink(form, form.path, time_range=time_range, comment=comment, join=CountedFile(), refused=refused)
    problem: Exception | None = None
    try:
        with captured_log():
            sink.rehearse(tick)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        problem = error
    finally:
        sink.abort()
    return problem, tuple(sink.notes), sink.copied
