"""`starvsr batch`: many clips on many devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from starvsr.apps.cli.exit_codes import Stopped
from starvsr.apps.cli.flags import Function, GroupedCommand, GroupedOption, flag_of, options_of
from starvsr.apps.cli.terminal import remark, say
from starvsr.errors import OptionError
from starvsr.families.options import default_of, option_infos

if TYPE_CHECKING:
    from starvsr.apps.batch.run import BatchSettings

_OF_UPSCALE_ALONE = frozenset({"restart", "compare", "on_error", "processes"})
_EXAMPLES = (
    ("starvsr batch archive/ -o large/", "every video below archive/, on all GPUs of this machine"),
    ("starvsr batch clips.jsonl -o s3://bucket/large", 'lines such as {"input": "s3://bucket/a.mp4", "scale": 2}'),
    ("starvsr batch s3://bucket/raw -o s3://bucket/large --engine ray --address auto", "on a Ray cluster"),
    ("starvsr batch archive/ -o large/ --min consistency_lq_db=30", "marks clips that stray from their input"),
    ("starvsr batch archive/ -o large/ --retry-failed", "also tries again what was given up"),
)


def _batch_flags(function: Function) -> Function:
    for name, info in reversed(list(option_infos())):
        if name not in _OF_UPSCALE_ALONE:
            function = flag_of(name, info, default_of(name))(function)
    return function


def _option(*words: str, group: str, **details: Any) -> Any:
    return click.option(*words, cls=GroupedOption, group=group, **details)


@click.command(cls=GroupedCommand, examples=_EXAMPLES, short_help="Upscale many clips on many devices.")
@click.argument("source", metavar="MANIFEST|FOLDER|ADDRESS")
@_option("-o", "--output", "out", required=True, metavar="DEST", group="Batch", help="Folder, or s3://bucket/prefix.")
@_option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    group="Batch",
    help="A process for each device of this machine, or actors of a Ray cluster; changes no byte.",
)
@_option(
    "--address", metavar="ADDRESS", group="Batch", help="Of a Ray cluster, as auto (default: one is started here)."
)
@_option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    group="Batch",
    help="Processes where there is no GPU (default: 1), or most of them on each node of a cluster.",
)
@_option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    group="Batch",
    help="Folder for unfinished work (default: in DEST, or the system's temporary folder for addresses).",
)
@_option(
    "--shared-scratch",
    is_flag=True,
    group="Batch",
    help="All nodes of the cluster see --scratch, so long clips may be made by several of them.",
)
@_option(
    "--share",
    metavar="TIME",
    group="Batch",
    help="Cut clips of twice this length or more into shares for several workers (default: 5:00); changes no byte.",
)
@_option(
    "--measure",
    metavar="METRIC,...",
    group="Batch",
    help="Measure results beside their inputs; report: what `upscale --report` measures.",
)
@_option("--min", "lows", multiple=True, metavar="METRIC=VALUE", group="Batch", help="Mark clips below it for review.")
@_option("--max", "highs", multiple=True, metavar="METRIC=VALUE", group="Batch", help="Mark clips above it for review.")
@_option("--retry-failed", is_flag=True, group="Batch", help="Try clips again that earlier runs gave up.")
@_option("--dry-run", is_flag=True, group="Batch", help="Look at manifest, weights and destination; do nothing.")
@_option("-q", "--quiet", is_flag=True, group="Batch", help="No progress; failures are told all the same.")
@_batch_flags
def batch(source: str, out: str, quiet: bool, dry_run: bool, **flags: Any) -> int:
    """Upscale many clips: those of a manifest (JSONL or Parquet), or all below a folder or s3://bucket/prefix.

    DEST/_batch holds a record of each clip. The same command goes on where it stopped, whatever was killed: finished
    clips are not done again. A clip that fails three times is given up. Results are verified, and replace nothing
    without --overwrite.
    """
    settings = _settings(source, out, dry_run, flags)
    from starvsr.apps.batch.records import read_standings
    from starvsr.apps.batch.run import run_batch
    from starvsr.apps.batch.summary import told

    with _display(quiet) as (on_progress, on_event):
        try:
            counts = run_batch(settings, on_progress=on_progress, on_event=on_event)
        except (Stopped, KeyboardInterrupt):
            num_done = sum(one.state == "done" for one in read_standings(settings.destination))
            remark(f"note: {num_done} clips are done in {out}; the same command goes on from there")
            raise
    say(told(counts))
    return 1 if counts.failed else 0


def _settings(source: str, out: str, dry_run: bool, flags: dict[str, Any]) -> BatchSettings:
    from starvsr.apps.batch.locations import Location
    from starvsr.apps.batch.run import SHARE_SECONDS, BatchSettings
    from starvsr.apps.batch.settings import bound_of
    from starvsr.quantities import parse_time

    engine: Literal["local", "ray"] = flags.pop("engine")
    address, workers, scratch = flags.pop("address"), flags.pop("workers"), flags.pop("scratch")
    shared, share, measure = flags.pop("shared_scratch"), flags.pop("share"), flags.pop("measure")
    retry, lows, highs = flags.pop("retry_failed"), flags.pop("lows"), flags.pop("highs")
    try:
        if engine == "local" and (address is not None or shared):
            raise OptionError(f"{'--address' if address is not None else '--shared-scratch'} is for --engine ray")
        share_seconds = SHARE_SECONDS if share is None else float(parse_time(share))
        if share_seconds <= 0:
            raise OptionError(f"--share {share}: give a time above 0")
        bounds = (*(bound_of(word, "min") for word in lows), *(bound_of(word, "max") for word in highs))
        return BatchSettings(
            Location.of(source),
            Location.of(out),
            options_of(flags),
            engine,
            address,
            workers,
            None if scratch is None else scratch.absolute(),
            shared,
            share_seconds,
            tuple(name.strip() for name in (measure or "").split(",") if name.strip()),
            bounds,
            retry,
            dry_run,
        )
    except OptionError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def _display(quiet: bool) -> Iterator[tuple[Any, Any]]:
    from starvsr.apps.cli.batch_progress import batch_display

    with batch_display(quiet=quiet) as shown:
        yield shown
