"""The report of an upscaling job: its result beside its input, without ground truth, on one page (`upscale --report`).

It reads the finished output and the input again, frame by frame, and writes a folder beside the output. Nothing of it
touches the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.engine.progress import CancelToken, ProgressTracker
from starvsr.errors import OptionError
from starvsr.evaluation.clip_source import ClipSource, eight_bits
from starvsr.evaluation.illustrated import write_report
from starvsr.evaluation.report_folder import check_report_folder
from starvsr.evaluation.result_survey import Borders
from starvsr.evaluation.run import EvaluationOptions, evaluate_results
from starvsr.jobs.inputs import open_reader
from starvsr.jobs.job import Job
from starvsr.jobs.manifest import part_frames
from starvsr.jobs.planning import plan_job_parts
from starvsr.metrics.metric import ByteArray
from starvsr.video import VideoInfo
from starvsr.video.patterns import is_pattern, pattern_head
from starvsr.video.untrusted.limits import OWN_FILES
from starvsr.video.write.file_names import fitting

if TYPE_CHECKING:
    from starvsr.engine.progress import UpscaleResult
    from starvsr.jobs.photos import PhotosJob

METRICS = (
    "consistency_lq_db",
    "color_error_lq_de00",
    "color_drift_lq_de00",
    "added_detail_lq",
    "still_flicker_lq",
    "seam_steps_lq",
    "seam_lines_lq",
    "weave",
)
"""What the report measures; `starvsr evaluate RESULT --lq INPUT` adds those that take longer."""


def report_path(out: Path) -> Path:
    """Return the folder of the report of an output."""
    stem = pattern_head(out.name) if is_pattern(out) else out.stem if out.suffix else out.name
    return fitting(out, stem, after="_report")


def check_report(job: Job | PhotosJob, *, overwrite: bool) -> None:
    """Refuse a report that cannot be made, before any frame is upscaled.

    Raises:
        OptionError: the result is smaller than the input, or many photos.
        OutputError: there is no place for the report.
    """
    if not isinstance(job, Job):
        raise OptionError(
            f"{job.path}: --report looks at one video, film or image, and these are photos: leave it out, and give "
            "both folders to `starvsr evaluate OUT --lq IN -o REPORT`"
        )
    if job.width < job.info.width or job.height < job.info.height:
        raise OptionError(
            f"--report compares the result, reduced, with the input, and {job.width}x{job.height} is smaller than "
            f"{job.info.width}x{job.info.height}: leave out --report"
        )
    check_report_folder(report_path(job.out), overwrite=overwrite)


def write_job_report(job: Job, result: UpscaleResult, *, on_step: Callable[[str], None] = lambda line: None) -> Path:
    """Write the report of a finished job.

    Args:
        job: the job.
        result: what it wrote.
        on_step: told what is done.

    Returns:
        The folder.

    Raises:
        StarVsrError: input or output cannot be read again, or the report not be written. The output stays.
    """
    folder = report_path(job.out)
    on_step(f"report: borders of segments of {job.out.name}")
    evaluation = evaluate_results(
        [(job.upscaler.name, ClipSource(job.out.stem, job.out, OWN_FILES))],
        lq=JobInput(job.info.path.stem, job.info.path, job=job),
        borders=job_borders(job),
        options=EvaluationOptions(metrics=METRICS, device="cpu"),
        on_step=lambda line: on_step(f"report: {line}"),
    )
    links = {"result": job.out, "input": job.info.path}
    links |= {f"comparison with bicubic ({path.suffix[1:]})": path for path in result.comparison}
    shown = {name: path for name, path in links.items() if not is_pattern(path)}
    write_report(evaluation, folder, title=f"Report: {job.out.name}", links=shown, on_step=on_step)
    return folder


@dataclass(frozen=True, kw_only=True)
class JobInput(ClipSource):
    """The input of a job as the job read it: the part that was chosen, deinterlaced, within its limits.

    Attributes:
        job: The job.
    """

    job: Job

    @property
    def info(self) -> VideoInfo:
        """What the job found out of it."""
        return self.job.info

    def timed_frames(self, on_note: Callable[[str], None] | None = None) -> Iterator[tuple[Fraction, ByteArray]]:
        """Yield each frame with its time in seconds after the first one; what is noticed, the job has told."""
        first: int | None = None
        with closing(open_reader(self.job.info, self.job.options)) as reader:
            for frame in reader:
                first = frame.pts if first is None else first
                yield (frame.pts - first) * frame.time_base, eight_bits(frame)


def job_borders(job: Job) -> Borders:
    """Plan a job once more, and return where it was cut; reads the input once."""
    with closing(open_reader(job.info, job.options)) as reader:
        silent = ProgressTracker(None, job.num_frames)
        plan = plan_job_parts(job, reader, part_frames(job.info.frame_rate), silent, CancelToken())
    grid = job.plan.grid
    enlarged = partial(_enlarged, job.width, grid.width), partial(_enlarged, job.height, grid.height)
    return Borders(
        segments=tuple(s.keep_start for s in plan.segments if s.keep_start != s.shot_start),
        cuts=len(plan.cuts),
        columns=tuple(enlarged[0](window.keep_start) for window in grid.columns[1:]),
        rows=tuple(enlarged[1](window.keep_start) for window in grid.rows[1:]),
        plan=job.plan.describe(),
    )


def _enlarged(length: int, input_length: int, place: int) -> int:
    return round(place * length / input_length)


def how_to_repeat(job: Job) -> str:
    """Say by which command the report of a finished job can be made once more."""
    if job.options.start is not None or job.options.duration is not None:
        return "the same command with --overwrite makes both anew"
    return f"`starvsr evaluate {job.out} --lq {job.info.path} -o {report_path(job.out)}` makes one"
