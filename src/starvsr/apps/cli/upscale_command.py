"""`starvsr upscale`: the main command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from starvsr.apps.cli.exits import message_of
from starvsr.apps.cli.flags import GroupedCommand, GroupedOption, options_of, upscale_flags
from starvsr.apps.cli.words import echo, printable
from starvsr.errors import StarVsrError
from starvsr.pipelines.quantities import format_size, format_time

if TYPE_CHECKING:
    from starvsr.apps.cli.inputs import Pair
    from starvsr.pipelines.api import UpscaleJob
    from starvsr.pipelines.options import UpscaleOptions
    from starvsr.pipelines.progress import ProgressCallback, UpscaleResult
    from starvsr.pipelines.upscaler import ClipUpscaler


@click.command(cls=GroupedCommand, short_help="Enlarge videos and images.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    "out",
    cls=GroupedOption,
    group="Output",
    metavar="OUT",
    help="Where the result goes: .mp4, .mov, .mkv, .webm, .avi, .ts, .png, a numbered pattern (f_%05d.png), or a "
    "folder (default: beside the input, as <name>_x4).",
)
@upscale_flags
@click.option("--dry-run", is_flag=True, cls=GroupedOption, group="Run", help="Show the plan and write nothing.")
@click.option("-q", "--quiet", is_flag=True, cls=GroupedOption, group="Run", help="No progress, no notes.")
def upscale(inputs: tuple[str, ...], out: str | None, dry_run: bool, quiet: bool, **flags: Any) -> int:
    """Enlarge videos and images: INPUT is a video, an image, a folder of either, or a pattern such as f_%05d.png.

    Sound, subtitles, chapters, timestamps and colour are kept. The output appears under its name only when it is
    whole. After an interruption, the same command goes on with what is finished.
    """
    options = options_of(flags)
    from starvsr.apps.cli.inputs import pair_up

    pairs = pair_up(inputs, out, options.scale)
    runner = Runner(options, dry_run=dry_run, quiet=quiet)
    for pair in pairs:
        runner.run(pair)
    return runner.finish(len(pairs))


class Runner:
    """Does one pair after the other with one loaded model."""

    def __init__(self, options: UpscaleOptions, *, dry_run: bool, quiet: bool) -> None:
        self._options = options
        self._dry_run = dry_run
        self._quiet = quiet
        self._upscaler: ClipUpscaler | None = None
        self._failed: list[Pair] = []

    def run(self, pair: Pair) -> None:
        """Do one input; an error ends everything, or with --on-error skip this input alone."""
        try:
            self._do(pair)
        except StarVsrError as error:
            if self._options.on_error == "stop":
                raise
            self._failed.append(pair)
            echo(f"error: {message_of(error)}", err=True)

    def finish(self, num_inputs: int) -> int:
        """Sum up and return the exit code."""
        if num_inputs > 1 and not self._dry_run:
            failed = f", {len(self._failed)} failed: {', '.join(str(p.source) for p in self._failed)}"
            echo(f"{num_inputs - len(self._failed)} of {num_inputs} done{failed if self._failed else ''}")
        return 1 if self._failed else 0

    def _do(self, pair: Pair) -> None:
        from starvsr.apps.cli.progress import progress_display
        from starvsr.pipelines.api import prepare

        quiet = self._quiet or self._dry_run
        with progress_display(printable(pair.source.name), quiet=quiet) as on_progress:
            job = prepare(pair.source, pair.output, self._options, upscaler=self._upscaler)
            self._upscaler = job.upscaler
            if not self._dry_run:
                result = self._finish(job, on_progress)
        if self._dry_run:
            from starvsr.apps.cli.plan_view import show_plan

            show_plan(job)
        else:
            self._tell(result)

    def _finish(self, job: UpscaleJob, on_progress: ProgressCallback | None) -> UpscaleResult:
        """Do a job; when it ends early, say what is kept of it."""
        from starvsr.errors import JobError
        from starvsr.pipelines.jobs.survey import kept_words

        try:
            return job.run(on_progress=on_progress)
        except BaseException as error:
            kept = None if isinstance(error, JobError) else kept_words(job.folder)
            if kept:
                echo(f"note: {kept}", err=True)
            raise

    def _tell(self, result: UpscaleResult) -> None:
        if not self._quiet:
            for note in result.notes:
                echo(f"note: {note}", err=True)
        echo(summary(result))
        for path in result.comparison:
            echo(f"{path}: comparison with bicubic")
        sys.stdout.flush()


def summary(result: UpscaleResult) -> str:
    """Put a result into one line."""
    frames = f"{result.num_frames} frame{'s' if result.num_frames != 1 else ''}"
    kept = f", {result.num_kept} of them from before" if result.num_kept else ""
    return (
        f"{result.output}: {frames} of {result.width}x{result.height}{kept} in {format_time(result.seconds)} "
        f"({result.seconds_per_frame:.2f} s a frame), peak memory {format_size(result.peak_memory)}"
    )
