"""``-`` as input or output of `starvsr upscale`: standard input and standard output."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from starvsr.apps.cli.standard_streams import is_terminal
from starvsr.apps.cli.terminal import printable, remark
from starvsr.errors import InputError, OptionError, UnreadableInputError
from starvsr.quantities import format_size, format_time

if TYPE_CHECKING:
    from starvsr.families.options import UpscaleOptions

STREAM = "-"
CONTAINERS = ("y4m", "nut")
_BUFFER = 1 << 20
_SPOOLED = ".starvsr-input"
"""End of the name of a file that holds standard input: nobody else's, since it is written over and removed."""


def check_words(inputs: Sequence[str], out: str | None, container: str | None, *, dry_run: bool, report: bool) -> None:
    """Refuse combinations of words that make no sense with standard streams.

    Raises:
        click.UsageError: So they are; says what to give.
    """
    reads, writes = STREAM in inputs, out == STREAM
    if container is not None and not writes:
        raise click.UsageError("--pipe-format says what is written to standard output: give -o - as well")
    if reads and len(inputs) > 1:
        raise click.UsageError("standard input (-) goes alone: do the other inputs in a command of their own")
    if reads and out is None:
        raise click.UsageError(
            "standard input (-) has no name to make one from: give -o FILE, or -o - for standard output"
        )
    if reads and (dry_run or (report and not writes)):
        flag = "--dry-run" if dry_run else "--report"
        raise click.UsageError(
            f"{flag} reads the input twice, which standard input cannot be: write it to a file first"
        )
    if writes and (dry_run or report):
        flag = "--dry-run" if dry_run else "--report"
        raise click.UsageError(f"{flag} is for outputs that are files: name one by -o")
    if writes and is_terminal(sys.stdout):
        raise click.UsageError("standard output is a terminal, which shows no video: send it on, as in `| mpv -`")
    if reads and is_terminal(sys.stdin):
        raise click.UsageError(
            "standard input is a terminal: send a video in, as in `ffmpeg ... -f nut - | starvsr ...`"
        )


def upscale_to_pipe(inputs: Sequence[str], container: str | None, options: UpscaleOptions, *, quiet: bool) -> int:
    """Upscale one input into standard output; all words for people go to standard error.

    Raises:
        StarVsrError: What, why and what next.
    """
    from starvsr.apps.cli.inputs import find_inputs
    from starvsr.apps.cli.progress import progress_display
    from starvsr.apps.piping.prepare import prepare_piped
    from starvsr.apps.piping.run import run_piped
    from starvsr.video.pipes.descriptor import STANDARD_INPUT, STANDARD_OUTPUT, DescriptorReader, DescriptorWriter

    def note(text: str) -> None:
        if not quiet:
            remark(f"note: {text}")

    name, source = STANDARD_INPUT, None
    with _frames_to_standard_output() as number:
        if inputs[0] == STREAM:
            source = DescriptorReader(0)
        else:
            sources = find_inputs(inputs, has_output=True).sources
            if len(sources) != 1:
                raise OptionError(f"{STANDARD_OUTPUT} takes one video, and {len(sources)} inputs were given: name one")
            name = sources[0].name
        with progress_display(printable(name), quiet=quiet) as on_progress:
            chosen = container or CONTAINERS[0]
            piped = prepare_piped(sources[0] if source is None else source, chosen, options, note=note)
            result = run_piped(piped, DescriptorWriter(number), on_progress=on_progress, note=note)
    for text in result.notes:
        note(text)
    if not quiet:
        remark(
            f"{STANDARD_OUTPUT}: {result.num_frames} frames of {piped.job.width}x{piped.job.height} in "
            f"{format_time(result.seconds)} ({result.seconds / max(1, result.num_frames):.2f} s a frame), peak memory "
            f"{format_size(result.peak_memory)}"
        )
    return 0


@contextlib.contextmanager
def _frames_to_standard_output() -> Iterator[int]:
    """Keep standard output for frames inside the block: what else is printed there goes to standard error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    number, beside = os.dup(1), os.dup(1)
    os.dup2(2, 1)
    try:
        yield number
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os.dup2(beside, 1)
        os.close(beside)
        os.close(number)


def refuse_place(out: str, options: UpscaleOptions) -> None:
    """Refuse an output that cannot be, before standard input is read for it.

    Raises:
        OptionError, OutputError: what, why and what next.
    """
    from starvsr.jobs.outputs import check_places

    if not out.endswith(("/", os.sep)) and not os.path.isdir(out):
        check_places(Path(out), (), options)


@contextlib.contextmanager
def spooled(out: str) -> Iterator[str]:
    """Write standard input into a file beside an output, which exists inside the block.

    Files are read more than once. A job that was interrupted can be resumed where the same bytes come again.

    Args:
        out: The output: a file, or a folder for images.

    Yields:
        The name of the file.

    Raises:
        UnreadableInputError: Standard input is empty.
        OutputError: The file cannot be written.
    """
    from starvsr.video.pipes.descriptor import STANDARD_INPUT
    from starvsr.video.write.publish import as_output_error

    place = Path(f"{out.rstrip('/' + os.sep)}{_SPOOLED}")
    try:
        with open(0, "rb", buffering=0, closefd=False) as source, place.open("wb") as target:
            shutil.copyfileobj(source, target, _BUFFER)
            size = target.tell()
        if not size:
            raise UnreadableInputError(f"{STANDARD_INPUT}: it is empty; check the command that writes into the pipe")
        yield str(place)
    except OSError as error:
        if isinstance(error, InputError) or error.filename not in (None, str(place)):
            raise
        raise as_output_error(place, error) from None
    finally:
        with contextlib.suppress(OSError):
            place.unlink()
