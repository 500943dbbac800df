"""`starvsr evaluate`: score results, with or without a reference, and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from starvsr.apps.cli.findings import tell_findings
from starvsr.apps.cli.flags import GroupedCommand
from starvsr.apps.cli.scoring_flags import option, scoring_flags
from starvsr.apps.cli.terminal import remark, say
from starvsr.errors import OptionError

if TYPE_CHECKING:
    from starvsr.evaluation.gates import Gate
    from starvsr.evaluation.record import Report
    from starvsr.evaluation.run import Evaluation, EvaluationOptions

_EXAMPLES = (
    ("starvsr evaluate out.mp4 --reference sharp.mp4", "prints the scores"),
    ("starvsr evaluate results/ --reference gt/ -o report", "all clips of a folder; open report/index.html"),
    ("starvsr evaluate bicubic/ star/ --reference gt/ -o report", "two methods side by side, with paired tests"),
    ("starvsr evaluate out.mp4 --lq in.mp4", "without a reference"),
    ("starvsr evaluate --compare report_a report_b", "two reports that were written before"),
    ("starvsr evaluate out.mp4 --reference sharp.mp4 --min psnr_y_db=28", "exit status 1 below that"),
)
_PATH = click.Path(path_type=Path)


@click.command(cls=GroupedCommand, examples=_EXAMPLES, short_help="Score results and write a report.")
@click.argument("results", nargs=-1, type=_PATH, metavar="[RESULT...]")
@option("--reference", type=_PATH, metavar="GT", group="Input", help="Ground truth: a file or folder like RESULT.")
@option("--lq", type=_PATH, metavar="LQ", group="Input", help="The low-quality input that RESULT was made from.")
@option("--name", "names", multiple=True, metavar="NAME", group="Input", help="Name of each RESULT, in order.")
@option("--data-set", metavar="NAME", group="Input", help="Name of the clips in tables (default: the folder's).")
@option(
    "--compare",
    nargs=2,
    type=_PATH,
    metavar="A B",
    group="Input",
    help="Two reports, or two results to score, against each other: paired differences with intervals and tests.",
)
@scoring_flags
@option("--device", default="auto", show_default=True, group="Scores", help="Where networks of metrics compute.")
@option("--seed", type=int, default=0, show_default=True, group="Scores", help="Of the draws of intervals and tests.")
@option("--min", "minima", multiple=True, metavar="METRIC=VALUE", group="Scores", help="Exit status 1 below it.")
@option("--max", "maxima", multiple=True, metavar="METRIC=VALUE", group="Scores", help="Exit status 1 above it.")
@option("-o", "--output", "out", type=_PATH, metavar="FOLDER", group="Output", help="Write a report there.")
@option("--previews/--no-previews", default=True, group="Output", help="Put clips to play into the report.")
@option("-y", "--overwrite", is_flag=True, group="Output", help="Replace a report that is there.")
@option("-q", "--quiet", is_flag=True, group="Output", help="No progress, no notes; only what is missing of --metrics.")
def evaluate(
    results: tuple[Path, ...],
    reference: Path | None,
    lq: Path | None,
    names: tuple[str, ...],
    data_set: str | None,
    compare: tuple[Path, Path] | None,
    metrics: str | None,
    crop_px: int,
    flow: Literal["dis", "dis-fast", "farneback", "raft"],
    flow_source: Literal["auto", "gt", "lq", "hq"],
    dover_draws: int,
    allow_shift: bool,
    device: str,
    seed: int,
    minima: tuple[str, ...],
    maxima: tuple[str, ...],
    out: Path | None,
    previews: bool,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Score results: RESULT is a video, an image, a folder of clips or of frames, or a pattern such as f_%05d.png.

    Several RESULTs are several methods on the same clips. Clips of folders are paired by name (x.mp4 or x_x4.mp4 with
    x.mp4). Size, number of frames, colours and shifts are checked before anything is scored. Values are means over
    frames, then clips, with 95 % intervals over clips. What cannot be computed is listed with the reason.
    """
    from starvsr.evaluation.gates import Gate, failures
    from starvsr.evaluation.report_folder import check_report_folder
    from starvsr.evaluation.run import EvaluationOptions
    from starvsr.families.devices import choose_device

    gates = [Gate.parse("min", text) for text in minima] + [Gate.parse("max", text) for text in maxima]
    if out is not None:
        check_report_folder(out, overwrite=overwrite)
    wanted = [name.strip() for name in metrics.split(",") if name.strip()] if metrics is not None else None
    options = EvaluationOptions(
        metrics=_with_gates(wanted, gates),
        crop_px=crop_px,
        data_set=data_set,
        allow_shift=allow_shift,
        device=choose_device(device),
        seed=seed,
        flow=flow,
        flow_source=flow_source,
        dover_draws=dover_draws,
    )
    evaluation = _evaluate(results, compare, names, reference, lq, options, quiet)
    tell_findings(evaluation.report, quiet=quiet, metrics=wanted)
    _tell(evaluation.report)
    if out is not None:
        _write(evaluation, out, previews, quiet)
    broken = failures(gates, evaluation.report)
    for line in broken:
        remark(f"error: {line}")
    return 1 if broken else 0


def _with_gates(wanted: list[str] | None, gates: list[Gate]) -> list[str] | None:
    """Add the metrics of limits to those that are asked for; limits alone add to the usual ones."""
    from starvsr.metrics.registry import DEFAULT_METRICS

    usual = [metric.name for metric in DEFAULT_METRICS]
    if wanted == ["all"]:
        return wanted
    added = [gate.metric for gate in gates if gate.metric not in (usual if wanted is None else wanted)]
    if not added:
        return wanted
    return list(dict.fromkeys([*(usual if wanted is None else wanted), *added]))


def _evaluate(
    results: tuple[Path, ...],
    compare: tuple[Path, Path] | None,
    names: tuple[str, ...],
    reference: Path | None,
    lq: Path | None,
    options: EvaluationOptions,
    quiet: bool,
) -> Evaluation:
    from starvsr.evaluation.comparison import merge_reports, report_name
    from starvsr.evaluation.record import is_report, read_report
    from starvsr.evaluation.run import Evaluation, evaluate_results

    if compare and results:
        raise click.UsageError("RESULT and --compare do not go together: give both results to --compare")
    paths = compare or results
    if not paths:
        raise click.UsageError("Missing argument 'RESULT...'")
    if names and len(names) != len(paths):
        raise click.UsageError(f"--name is given {len(names)} times for {len(paths)} results: name each, in order")
    reports = [is_report(path) for path in paths]
    if compare and all(reports):
        if reference is not None or lq is not None:
            raise OptionError("--reference and --lq are for results; reports are compared as they were scored")
        named = list(zip(names or [report_name(path) for path in paths], map(read_report, paths), strict=True))
        return Evaluation(merge_reports(named))
    if any(reports):
        report = paths[reports.index(True)]
        raise OptionError(f"{report}: is a report; give it to --compare beside another report")
    methods = names or _method_names(paths)
    return evaluate_results(
        list(zip(methods, paths, strict=True)),
        reference=reference,
        lq=lq,
        options=options,
        on_step=(lambda line: None) if quiet else remark,
    )


def _method_names(paths: tuple[Path, ...]) -> list[str]:
    """Name methods after their folders or files; where these are alike, after the folders above, too."""
    plain = [path.stem if path.suffix and not path.is_dir() else path.absolute().name for path in paths]
    if len(set(plain)) == len(plain):
        return plain
    return [f"{path.absolute().parent.name}/{name}" for path, name in zip(paths, plain, strict=True)]


def _tell(report: Report) -> None:
    from starvsr.evaluation.tables import means_markdown, tests_markdown

    tests = tests_markdown(report)
    for line in [*means_markdown(report).splitlines(), *(["", *tests.splitlines()] if tests else [])]:
        say(line)


def _write(evaluation: Evaluation, out: Path, previews: bool, quiet: bool) -> None:
    from starvsr.evaluation.illustrated import write_report

    write_report(evaluation, out, previews=previews, on_step=(lambda line: None) if quiet else remark)
    say(f"{out}: open {out / 'index.html'}")
