"""`starvsr benchmark`: models on a data set of the field, scored and tabulated beside published values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from starvsr.apps.cli.findings import tell_findings
from starvsr.apps.cli.flags import GroupedCommand
from starvsr.apps.cli.scoring_flags import option, scoring_flags
from starvsr.apps.cli.terminal import remark, say

if TYPE_CHECKING:
    from starvsr.evaluation.benchmarks.run import BenchmarkResult

_EXAMPLES = (
    ("starvsr benchmark --list", "the data sets, and the folders that each is read from"),
    ("starvsr benchmark udm10 --data UDM10 --models star-small,bicubic,lanczos -o udm10", "the same line goes on"),
    ("starvsr benchmark reds4 --data REDS --models stablevsr --weights stablevsr=FOLDER -o reds4", ""),
    (
        "starvsr benchmark custom --data clips --lq heavy --seed 1 --models star-small -o mine",
        "input is made by a preset",
    ),
    (
        "starvsr benchmark udm10 --data UDM10 --models a=star-small,b=star-small --option b.steps=4 -o ab",
        "two settings",
    ),
    ("starvsr benchmark vid4 --data Vid4 --models esr=RealESRGAN_x4plus.pth,realesr-animevideov3-x4.param -o vid4", ""),
)
_PATH = click.Path(path_type=Path)


def _show_list(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from starvsr.evaluation.benchmarks.sets import BENCHMARKS

    for one in BENCHMARKS.values():
        say(f"{one.name:<10} {one.about}")
        say(f"{'':<10} {one.expected()}")
    ctx.exit()


@click.command(
    cls=GroupedCommand, examples=_EXAMPLES, short_help="Run models on a data set and print the table of their scores."
)
@click.argument("name", metavar="NAME")
@option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_list,
    group="Data",
    help="Show the data sets and their folders.",
)
@option(
    "--data",
    type=_PATH,
    required=True,
    metavar="FOLDER",
    group="Data",
    help="The data set; custom and openvid30 also take a list (.csv, .txt).",
)
@option(
    "--lq",
    metavar="NAME",
    group="Data",
    help="Folder of the low-quality clips, or how to make them: bicubic, released, a preset of `degrade`.",
)
@option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, group="Data", help="Of what is drawn to make them."
)
@option(
    "--scale",
    type=click.IntRange(1, 4),
    metavar="N",
    group="Data",
    help="How many times results are larger (default: as the clips tell, else 4).",
)
@option("--clips", metavar="NAME,...", group="Data", help="Only these clips.")
@option("--frames", type=click.IntRange(1), metavar="N", group="Data", help="Only the first N frames of each clip.")
@option("--max-size", metavar="WxH", group="Data", help="Cut larger ground truth around its centre.")
@option("--allow-partial", is_flag=True, group="Data", help="Score a data set that is not whole.")
@option("--frozen", type=_PATH, metavar="FILE", group="Data", help="Refuse data other than those of this frozen.json.")
@option(
    "--models",
    required=True,
    metavar="NAME,...",
    group="Models",
    help="Models of `starvsr models list`, lanczos, networks by their file (.param, .pth); LABEL=NAME names one.",
)
@option(
    "--weights",
    multiple=True,
    metavar="LABEL=FILE",
    group="Models",
    help="Weights of one model, as `upscale --weights`.",
)
@option(
    "--option",
    "settings",
    multiple=True,
    metavar="LABEL.OPTION=VALUE",
    group="Models",
    help="An option of `starvsr upscale` for one model.",
)
@option(
    "--model-files",
    type=_PATH,
    metavar="FOLDER",
    group="Models",
    help="Where networks lie that are named without a path.",
)
@option("--device", metavar="NAME", group="Models", help="Where models and metrics compute (default: auto).")
@option("--devices", metavar="NAME,...", group="Models", help="Devices to compute on side by side, as cuda:0,cuda:1.")
@option(
    "--processes",
    type=click.IntRange(1, 64),
    metavar="N",
    group="Models",
    help="Compute segments of a clip in up to N processes.",
)
@option("--threads", type=click.IntRange(1), metavar="N", group="Models", help="Processor threads in each process.")
@scoring_flags
@option(
    "--published",
    default="own",
    show_default=True,
    metavar="own|all|none|NAME,...",
    group="Output",
    help="Published values beside ours.",
)
@option(
    "-o",
    "--output",
    "out",
    type=_PATH,
    required=True,
    metavar="FOLDER",
    group="Output",
    help="Keeps results, scores, checksums and tables.",
)
@option(
    "--report/--no-report",
    "with_report",
    default=True,
    group="Output",
    help="Write FOLDER/report with plots and frames.",
)
@option("--previews/--no-previews", default=False, group="Output", help="Put clips to play into it.")
@option("-q", "--quiet", is_flag=True, group="Output", help="No progress, no notes; only what is missing of --metrics.")
def benchmark(
    name: str,
    data: Path,
    lq: str | None,
    seed: int,
    scale: int | None,
    clips: str | None,
    frames: int | None,
    max_size: str | None,
    allow_partial: bool,
    frozen: Path | None,
    models: str,
    weights: tuple[str, ...],
    settings: tuple[str, ...],
    model_files: Path | None,
    device: str | None,
    devices: str | None,
    processes: int | None,
    threads: int | None,
    metrics: str | None,
    crop_px: int,
    flow: Literal["dis", "dis-fast", "farneback", "raft"],
    flow_source: Literal["auto", "gt", "lq", "hq"],
    dover_draws: int,
    allow_shift: bool,
    published: str,
    out: Path,
    with_report: bool,
    previews: bool,
    quiet: bool,
) -> int:
    """Enlarge the clips of a data set by several models, score them, and print the table.

    NAME is a data set (--list shows them), or custom for clips of your own. What is enlarged and scored is kept in
    FOLDER: the same command goes on after an interruption, and models or metrics can be added. frozen.json in it
    holds checksums of what was scored. Published values are marked; they do not compare with ours.
    """
    from starvsr.evaluation.benchmarks.inputs import InputOptions
    from starvsr.evaluation.benchmarks.methods import parse_methods
    from starvsr.evaluation.benchmarks.run import BenchmarkOptions, run_benchmark
    from starvsr.evaluation.benchmarks.sets import get_set
    from starvsr.evaluation.run import EvaluationOptions
    from starvsr.families.devices import choose_device

    given = {"device": device, "devices": devices, "processes": processes, "threads": threads}
    options = BenchmarkOptions(
        data=data,
        methods=parse_methods(_words(models), options=settings, weights=weights, files=model_files),
        lq=lq,
        inputs=InputOptions(seed=seed, frames=frames, max_size=_size(max_size), scale=scale),
        clips=_words(clips) if clips is not None else None,
        allow_partial=allow_partial,
        frozen=frozen,
        shared={key: value for key, value in given.items() if value is not None},
        evaluation=EvaluationOptions(
            metrics=_words(metrics) if metrics is not None else None,
            crop_px=crop_px,
            allow_shift=allow_shift,
            device=choose_device(device or (devices.split(",")[0].strip() if devices else "auto")),
            flow=flow,
            flow_source=flow_source,
            dover_draws=dover_draws,
        ),
        published=published,
    )
    on_step = (lambda line: None) if quiet else remark
    result = run_benchmark(get_set(name), options, out, on_step=on_step)
    tell_findings(result.table.report, quiet=quiet, metrics=options.evaluation.metrics)
    _tell(result)
    if with_report:
        from starvsr.evaluation.illustrated import write_report

        write_report(result.evaluation, out / "report", previews=previews, on_step=on_step)
    say(f"{out}: table.md, .tex, .csv, .json{' and report/index.html' if with_report else ''}")
    for failure in result.table.failures:
        remark(f"error: {failure}")
    return 1 if result.table.failures else 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < 1:
        raise click.UsageError(f"--max-size {text!r} must read WIDTHxHEIGHT, for example 1280x720")
    return width, height


def _tell(result: BenchmarkResult) -> None:
    from starvsr.evaluation.benchmarks.tables import to_markdown

    for line in to_markdown(result.table).splitlines():
        say(line)
