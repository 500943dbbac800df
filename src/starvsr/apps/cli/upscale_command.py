"""`starvsr upscale`: the main command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from starvsr.apps.cli.exit_codes import message_of
from starvsr.apps.cli.flags import GroupedCommand, GroupedOption, options_of, upscale_flags
from starvsr.apps.cli.pipes import CONTAINERS, STREAM, check_words, refuse_place, spooled, upscale_to_pipe
from starvsr.apps.cli.terminal import printable, remark, say
from starvsr.errors import StarVsrError
from starvsr.quantities import format_size, format_time

if TYPE_CHECKING:
    from starvsr.api import UpscaleJob
    from starvsr.apps.cli.inputs import Pair
    from starvsr.engine.progress import ProgressCallback, UpscaleResult
    from starvsr.engine.upscaler import Upscaler
    from starvsr.families.options import UpscaleOptions
    from starvsr.jobs.photos import PhotosJob
    from starvsr.jobs.prompts.find import Found


_EXAMPLES = (
    ("starvsr upscale clip.mp4", "writes clip_x4.mp4 beside it"),
    ("starvsr upscale clip.mp4 -o big.mkv --scale 2", ""),
    ("starvsr upscale clip.mp4 --height 1080", "writes clip_1080p.mp4"),
    ("starvsr upscale clips/ -o large/", "all videos of a folder into another one"),
    ("starvsr upscale photos/ -o large/", "all photos of a folder, under their names"),
    ("starvsr upscale frames/f_%05d.png -o film.mp4 --frame-rate 25", "a film out of numbered images"),
    ('starvsr upscale clips/ --model star-light --caption "python caption.py"', "texts by any captioner"),
    ("starvsr upscale clip.mp4 --start 1:05 --duration 10 --compare", "ten seconds, beside bicubic"),
    ("ffmpeg -i clip.ts -f nut - | starvsr upscale - -o - | mpv -", "from and into pipes"),
    ("starvsr upscale clip.mp4 --report", "and clip_x4_report/index.html: what was added where, flicker, seams"),
)


@click.command(cls=GroupedCommand, examples=_EXAMPLES, short_help="Enlarge videos and images.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    "out",
    cls=GroupedOption,
    group="Output",
    metavar="OUT",
    help="Where the result goes: .mp4, .mov, .mkv, .webm, .avi, .ts, .gif, .webp, .png, .jpg, .tif, a numbered pattern "
    "(f_%05d.png), or a folder (default: beside the input, as <name>_x4). Several inputs need a folder.",
)
@click.option(
    "--pipe-format",
    type=click.Choice(CONTAINERS),
    cls=GroupedOption,
    group="Output",
    help="With -o -: y4m for players, FFmpeg and encoders (default), or nut, which keeps times and sound.",
)
@upscale_flags
@click.option(
    "--report",
    is_flag=True,
    cls=GroupedOption,
    group="Output",
    help="Also write OUT_report/, a page on what the result adds to the input and where, flicker and seams. Reads both "
    "again.",
)
@click.option("--dry-run", is_flag=True, cls=GroupedOption, group="Run", help="Show the plan and write nothing.")
@click.option("-q", "--quiet", is_flag=True, cls=GroupedOption, group="Run", help="No progress, no notes.")
def upscale(
    inputs: tuple[str, ...],
    out: str | None,
    pipe_format: str | None,
    report: bool,
    dry_run: bool,
    quiet: bool,
    **flags: Any,
) -> int:
    """Enlarge videos and images: INPUT is a video, an image, a folder of either, or a pattern such as f_%05d.png.

    Sound, subtitles, chapters, timestamps and colour are kept. The output appears under its name only when it is
    whole. After an interruption, the same command goes on with what is finished. A folder of numbered images is a
    film, other images in a folder are photos (--images). A dash is standard input or, with -o, standard output.
    """
    options = options_of(flags)
    check_words(inputs, out, pipe_format, dry_run=dry_run, report=report)
    if out == STREAM:
        return upscale_to_pipe(inputs, pipe_format, options, quiet=quiet)
    if inputs == (STREAM,) and out is not None:
        refuse_place(out, options)
        with spooled(out) as name:
            return _upscale_files((name,), out, options, report=report, dry_run=dry_run, quiet=quiet)
    return _upscale_files(inputs, out, options, report=report, dry_run=dry_run, quiet=quiet)


def _upscale_files(
    inputs: tuple[str, ...], out: str | None, options: UpscaleOptions, *, report: bool, dry_run: bool, quiet: bool
) -> int:
    """Enlarge files into files."""
    from starvsr.apps.cli.inputs import find_inputs, pair_up
    from starvsr.apps.cli.prompts import find_all, takes_texts

    takes = takes_texts(options)
    found = find_inputs(inputs, has_output=out is not None, skip=options.on_error == "skip", takes_texts=takes)
    pairs = pair_up(found.sources, out, options)
    if not quiet:
        for note in found.notes:
            remark(f"note: {note}")
    prompts = find_all(pairs, options)
    runner = Runner(options, report=report, dry_run=dry_run, quiet=quiet, prompts=prompts)
    with output_folders(pairs):
        if options.on_error == "stop":
            refuse_places(pairs, options)
        for pair in pairs:
            runner.run(pair)
    return runner.finish(len(pairs))


@contextmanager
def output_folders(pairs: Sequence[Pair]) -> Iterator[None]:
    """Make the folder that outputs go to, where its name alone was given; it goes again when nothing is put there."""
    from starvsr.video.write.publish import as_output_error

    made: list[Path] = []
    for folder in dict.fromkeys(pair.output.parent for pair in pairs if pair.makes_folder):
        for missing in [f for f in (folder, *folder.parents) if not f.exists()][::-1]:
            try:
                missing.mkdir()
            except OSError as error:
                raise as_output_error(folder, error) from None
            made.append(missing)
    try:
        yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def refuse_places(pairs: Sequence[Pair], options: UpscaleOptions) -> None:
    """Refuse outputs that are there already, or cannot be, before the first of several is begun."""
    from starvsr.jobs.outputs import check_places

    for pair in pairs if len(pairs) > 1 else ():
        check_places(pair.output, (pair.source,), options)


class Runner:
    """Does one pair after the other with one loaded model."""

    def __init__(
        self,
        options: UpscaleOptions,
        *,
        report: bool = False,
        dry_run: bool,
        quiet: bool,
        prompts: Mapping[Path, Found] | None = None,
    ) -> None:
        self._options = options
        self._report = report
        self._is_report_missing = False
        self._prompts = prompts or {}
        self._dry_run = dry_run
        self._quiet = quiet
        self._upscaler: Upscaler | None = None
        self._failed: list[Pair] = []

    def run(self, pair: Pair) -> None:
        """Do one input; an error ends everything, or with --on-error skip this input alone."""
        try:
            self._do(pair)
        except StarVsrError as error:
            if self._options.on_error == "stop":
                raise
            self._failed.append(pair)
            remark(f"error: {message_of(error)}")

    def finish(self, num_inputs: int) -> int:
        """Sum up and return the exit code."""
        if num_inputs > 1 and not self._dry_run:
            failed = f", {len(self._failed)} failed: {', '.join(str(p.source) for p in self._failed)}"
            say(f"{num_inputs - len(self._failed)} of {num_inputs} done{failed if self._failed else ''}")
        return 1 if self._failed or self._is_report_missing else 0

    def _do(self, pair: Pair) -> None:
        from starvsr.api import prepare_any
        from starvsr.apps.cli.progress import captioning_told, probing_told, progress_display
        from starvsr.jobs.prompts.request import Prompts

        quiet = self._quiet or self._dry_run
        with progress_display(printable(pair.source.name), quiet=quiet) as on_progress:
            prompts = Prompts(self._prompts, may_ask=not self._dry_run, on_ask=captioning_told(on_progress))
            with probing_told(on_progress):
                job = prepare_any(pair.source, pair.output, self._options, upscaler=self._upscaler, prompts=prompts)
            self._upscaler = job.upscaler
            if self._report:
                from starvsr.evaluation.job_report import check_report

                check_report(job, overwrite=self._options.overwrite)
            if not self._dry_run:
                result = self._finish(job, on_progress)
        if self._dry_run:
            from starvsr.apps.cli.dry_run import show_plan

            show_plan(job)
        else:
            self._tell(result)
            if self._report:
                self._write_report(job, result)

    def _write_report(self, job: UpscaleJob | PhotosJob, result: UpscaleResult) -> None:
        """Write the report of a finished job; the output stays whatever happens."""
        from starvsr.evaluation.job_report import how_to_repeat, write_job_report
        from starvsr.jobs.job import Job

        assert isinstance(job, Job)
        try:
            folder = write_job_report(job, result, on_step=(lambda line: None) if self._quiet else remark)
        except Exception as error:
            self._is_report_missing = True
            remark(f"error: {job.out} is whole, but its report failed: {message_of(error)}; {how_to_repeat(job)}")
        except BaseException:
            remark(f"note: {job.out} is whole, its report was stopped; {how_to_repeat(job)}")
            raise
        else:
            say(f"{folder}: open {folder / 'index.html'}")

    def _finish(self, job: UpscaleJob | PhotosJob, on_progress: ProgressCallback | None) -> UpscaleResult:
        """Do a job; when it ends early, say what is kept of it."""
        from starvsr.errors import JobError
        from starvsr.jobs.inspect import kept_summary

        try:
            return job.run(on_progress=on_progress)
        except BaseException as error:
            kept = None if isinstance(error, JobError) else kept_summary(job.folder)
            if kept:
                remark(f"note: {kept}")
            raise

    def _tell(self, result: UpscaleResult) -> None:
        if not self._quiet:
            for note in result.notes:
                remark(f"note: {note}")
        say(summary(result))
        for path in result.comparison:
            say(f"{path}: comparison with bicubic")


def summary(result: UpscaleResult) -> str:
    """Put a result into one line."""
    frames = f"{result.num_frames} {result.kind}{'s' if result.num_frames != 1 else ''}"
    of = "of" if result.kind == "frame" else "of up to"
    kept = f", {result.num_kept} of them from before" if result.num_kept else ""
    return (
        f"{result.output}: {frames} {of} {result.width}x{result.height}{kept} in {format_time(result.seconds)} "
        f"({result.seconds_per_frame:.2f} s a {result.kind}), peak memory {format_size(result.peak_memory)}"
    )
