"""Run a benchmark, or go on with it: find the clips, make inputs, enlarge them by every model, score, tabulate."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.errors import Cancelled, JobError, OptionError, OutputExistsError, StarVsrError
from starvsr.evaluation.benchmarks.degradations import describe
from starvsr.evaluation.benchmarks.frozen import FROZEN_NAME
from starvsr.evaluation.benchmarks.inputs import InputOptions, ReadyClip, make_inputs
from starvsr.evaluation.benchmarks.layout import FoundData, find_data
from starvsr.evaluation.benchmarks.methods import Method
from starvsr.evaluation.benchmarks.published import published_columns
from starvsr.evaluation.benchmarks.results import Results
from starvsr.evaluation.benchmarks.scores import ScoreFiles, trio_of
from starvsr.evaluation.benchmarks.sets import BenchmarkSet
from starvsr.evaluation.benchmarks.tables import BenchmarkTable, to_csv, to_json, to_latex, to_markdown
from starvsr.evaluation.metric_choice import choose_for
from starvsr.evaluation.pairing import ClipTrio
from starvsr.evaluation.record import Report
from starvsr.evaluation.run import Evaluation, EvaluationOptions
from starvsr.jobs.lock import JobLock
from starvsr.video.write.publish import as_output_error, check_parent, replace_file

if TYPE_CHECKING:
    from starvsr.engine.progress import CancelToken

_LOCK = ".lock"
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is run.

    Attributes:
        data: Folder of the data set, or a list of its clips.
        methods: The models, in the order of the table.
        lq: Folder of the low-quality clips, or a degradation; None takes the set's own.
        inputs: How clips are made ready.
        clips: Names of the clips wanted; None for all.
        allow_partial: Take a data set that is not whole.
        frozen: Checksums of a run to repeat.
        shared: Options of `starvsr upscale` for all models: where they compute.
        evaluation: How results are scored.
        published: Which published values stand beside; see `published.published_columns`.
    """

    data: Path
    methods: Sequence[Method]
    lq: str | None = None
    inputs: InputOptions = field(default_factory=InputOptions)
    clips: Sequence[str] | None = None
    allow_partial: bool = False
    frozen: Path | None = None
    shared: Mapping[str, Any] = field(default_factory=dict)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    published: str = "own"


@dataclass(frozen=True)
class BenchmarkResult:
    """What came of it.

    Attributes:
        table: The table, with what failed.
        evaluation: All scores, with the clips that they are about.
    """

    table: BenchmarkTable
    evaluation: Evaluation


def run_benchmark(
    wanted: BenchmarkSet,
    options: BenchmarkOptions,
    folder: Path,
    *,
    on_step: OnStep = lambda line: None,
    cancel: CancelToken | None = None,
) -> BenchmarkResult:
    """Run a benchmark, or what an interrupted run left of it.

    What fails for one model and clip does not stop the others; it is told in the table.

    Args:
        wanted: the data set.
        options: what is run.
        folder: a new folder, or that of an earlier run. It keeps made clips (``gt``, ``lq``), results, scores,
            checksums (`frozen.json`) and the table.
        on_step: told what is done.
        cancel: looked at often.

    Raises:
        InputError: the data set is not what it should be, or not what was frozen.
        OptionError: a metric, clip or low-quality version is unknown.
        StarVsrError: nothing could be scored, or the folder not be written.
    """
    published = published_columns(wanted.name, options.published)
    data = find_data(wanted, options.data, lq=options.lq, clips=options.clips, allow_partial=options.allow_partial)
    metrics, missing = choose_for(
        options.evaluation.metrics,
        has_gt=wanted.has_gt,
        has_lq=True,
        flow_source=options.evaluation.flow_source,
        dover_draws=options.evaluation.dover_draws,
    )
    with _opened(folder):
        for note in data.notes:
            on_step(f"note: {note}")
        clips = make_inputs(wanted.name, data, folder, options.inputs, frozen=options.frozen, on_step=on_step)
        results = {m.label: Results(folder / "results" / m.label, m, options.shared) for m in options.methods}
        scores = ScoreFiles(
            folder / "scores", wanted.title, options.evaluation, [metric.facts() for metric in metrics], missing
        )
        work = _Work(scores, on_step, cancel)
        for method in options.methods:
            work.run(method.label, results[method.label], clips)
        record = _record(wanted, data, options, clips, results)
        if not work.reports:
            raise StarVsrError(f"no result could be scored: {work.failures[0]}")
        report = scores.join(work.reports, record)
        notes = _notes(wanted, data, options, clips)
        table = BenchmarkTable(report, wanted.title, published, notes, work.failures)
        _write(folder, table, record)
        return BenchmarkResult(table, Evaluation(report, work.trios))


class _Work:
    """Enlarges and scores clips, one model after the other; keeps what fails."""

    def __init__(self, scores: ScoreFiles, on_step: OnStep, cancel: CancelToken | None) -> None:
        self._scores, self._on_step, self._cancel = scores, on_step, cancel
        self.reports: list[tuple[str, Report]] = []
        self.failures: list[str] = []
        self.trios: dict[tuple[str, str], ClipTrio] = {}

    def run(self, label: str, results: Results, clips: Sequence[ReadyClip]) -> None:
        """Do one model."""
        for place, clip in enumerate(clips):
            try:
                self._one(label, results, clip, f"{place + 1} of {len(clips)}")
            except Cancelled:
                raise
            except StarVsrError as error:
                self.failures.append(f"{label} on {clip.name}: {' '.join(str(error).split())}")
                self._on_step(f"failed: {self.failures[-1]}")
        results.unload()
        gc.collect()

    def _one(self, label: str, results: Results, clip: ReadyClip, place: str) -> None:
        report = self._scores.stored(label, clip, results.made_by)
        if report is None:
            if not results.path(clip).is_file():
                self._on_step(f"enlarging {clip.name} by {label} ({place})")
            result = results.upscale(clip, self._cancel)
            self._on_step(f"scoring {clip.name} of {label} ({place})")
            report = self._scores.score(label, clip, result, results.made_by, lambda line: None)
        self.reports.append((label, report))
        if results.path(clip).is_file():
            self.trios[label, clip.name] = trio_of(clip, results.path(clip))


@contextmanager
def _opened(folder: Path) -> Iterator[None]:
    """Open the folder for one process."""
    if folder.is_file():
        raise OptionError(f"{folder}: a file; a benchmark keeps a folder: give another name")
    check_parent(folder.absolute())
    others = [] if not folder.is_dir() else [e.name for e in folder.iterdir() if not e.name.startswith(".")]
    if others and not (folder / FROZEN_NAME).is_file() and not (folder / _LOCK).is_file():
        raise OutputExistsError(f"{folder}: the folder holds other files ({others[0]}); choose a new name")
    try:
        folder.mkdir(exist_ok=True)
        lock = JobLock(folder / _LOCK)
    except OSError as error:
        raise as_output_error(folder, error) from None
    except JobError:
        raise JobError(f"{folder}: another process runs this benchmark: wait for it, or choose another -o") from None
    try:
        yield
    finally:
        lock.release()


def _record(
    wanted: BenchmarkSet,
    data: FoundData,
    options: BenchmarkOptions,
    clips: Sequence[ReadyClip],
    results: Mapping[str, Results],
) -> dict[str, Any]:
    """Return what the scores depend on beside the metrics."""
    seed = options.inputs.seed
    return {
        "set": wanted.name,
        "clips": f"{len(clips)} of {data.num_clips}",
        "low_quality": describe(data.lq, seed) if data.is_synthetic else f"from {data.lq}",
        "frames": options.inputs.frames or "all",
        "max_size": "x".join(map(str, options.inputs.max_size)) if options.inputs.max_size else "none",
        "models": {label: found.made_by for label, found in results.items()},
        "pixels_sha256": {clip.name: clip.pixels for clip in clips},
    }


def _notes(wanted: BenchmarkSet, data: FoundData, options: BenchmarkOptions, clips: Sequence[ReadyClip]) -> list[str]:
    """Say what was scored, above all where it is not the whole set."""
    low = describe(data.lq, options.inputs.seed) if data.is_synthetic else f"from {data.lq}"
    notes = [f"low-quality clips: {low}"]
    parts = []
    whole = wanted.num_clips or data.num_clips
    if len(clips) != whole:
        parts.append(f"{len(clips)} of {whole} clips")
    if options.inputs.frames:
        parts.append(f"the first {options.inputs.frames} frames of each")
    if options.inputs.max_size:
        parts.append(f"at most {options.inputs.max_size[0]}x{options.inputs.max_size[1]} px around the centre")
    return notes + ([f"a part of the set: {', '.join(parts)}"] if parts else [])


def _write(folder: Path, table: BenchmarkTable, record: dict[str, Any]) -> None:
    """Write the table in all its forms."""
    try:
        for name, text in (
            ("table.md", to_markdown(table)),
            ("table.tex", to_latex(table)),
            ("table.csv", to_csv(table)),
            ("table.json", to_json(table, record)),
        ):
            replace_file(folder / name, text.encode())
    except OSError as error:
        raise as_output_error(folder, error) from None
