"""`starvsr tune`: models and settings tried on a few seconds of a clip."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from starvsr.apps.cli.commands import ExampleCommand
from starvsr.apps.cli.terminal import echo, remark, say
from starvsr.errors import OptionError, ResourceError
from starvsr.quantities import format_size, format_time, parse_time

if TYPE_CHECKING:
    from starvsr.apps.tuning.run import Outcome, Part

_EXAMPLES = (
    ("starvsr tune clip.mp4", "the models that are here, on two seconds from its middle"),
    ("starvsr tune clip.mp4 -o trials", "also trials/sheet.png, trials/tune.json and the upscaled parts"),
    ("starvsr tune clip.mp4 --models star-light --try model=star-light,steps=8", "the model's own steps beside 8"),
)


@click.command(cls=ExampleCommand, examples=_EXAMPLES, short_help="Try models and settings on a few seconds of a clip.")
@click.argument("clip", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the upscaled parts, sheet.png and tune.json there (default: print the table alone).",
)
@click.option("--seconds", default="2", metavar="TIME", help="Length of the part that is tried (default: 2).")
@click.option("--start", metavar="TIME", help="Where it begins (default: in the middle).")
@click.option("--models", metavar="NAMES", help="Models, separated by commas (default: those whose weights are here).")
@click.option("--devices", metavar="NAMES", help="Devices, separated by commas (default: the best one).")
@click.option(
    "--try", "tries", multiple=True, metavar="OPTIONS", help="Also try these, as model=NAME,steps=8; can be repeated."
)
@click.option("--scale", type=float, help="How many times larger (default: 4).")
@click.option("--height", type=int, help="Height of the output, as for `starvsr upscale`.")
@click.option("--width", type=int, help="Width of the output, as for `starvsr upscale`.")
def tune(
    clip: Path,
    folder: Path | None,
    seconds: str,
    start: str | None,
    models: str | None,
    devices: str | None,
    tries: tuple[str, ...],
    **size: Any,
) -> int:
    """Upscale a few seconds of CLIP by each model, and tell time, memory, and how long the whole will take.

    Each trial runs in a process of its own, one after the other. The times hold for this machine as busy as it is now.
    """
    from starvsr.apps.tuning.run import candidates, choose_part, tune, write_sheet
    from starvsr.families.available import available_models

    try:
        times = parse_time(seconds), None if start is None else parse_time(start)
    except ValueError as error:
        raise click.UsageError(f"--seconds or --start: {error}") from None
    names = available_models() if models is None else _words(models)
    shared = {name: value for name, value in size.items() if value is not None}
    try:
        tried = candidates(names, _words(devices or ""), tries, shared)
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    part = choose_part(clip, *times)
    with tempfile.TemporaryDirectory(prefix="starvsr-tune-") as temporary:
        place = Path(temporary)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            place = folder
        outcomes = tune(clip, part, tried, place, lambda options: remark(f"trying {options.model}"))
        _show(part, outcomes)
        if folder is not None:
            _write(clip, part, outcomes, folder, has_sheet=write_sheet(clip, part, outcomes, folder / "sheet.png"))
    if all(outcome.error for outcome in outcomes):
        raise ResourceError(f"nothing of what was tried can be done: {outcomes[0].error}")
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _show(part: Part, outcomes: Sequence[Outcome]) -> None:
    """Print the table, quickest first, and the command of each."""
    order = sorted(outcomes, key=lambda o: float("inf") if o.timing is None else o.timing.seconds_per_frame)
    rows = [("", "s/frame", "memory", "whole clip", "size")]
    for number, outcome in enumerate((o for o in order if o.timing is not None), 1):
        assert outcome.timing is not None and outcome.peak_memory is not None and outcome.size is not None
        memory = " + ".join(format_size(value) for value in outcome.peak_memory.values())
        whole = "unknown" if outcome.seconds is None else format_time(outcome.seconds)
        size = "x".join(map(str, outcome.size))
        rows.append((f"{number} {outcome.name}", f"{outcome.timing.seconds_per_frame:.3g}", memory, whole, size))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    echo()
    for number, outcome in enumerate((o for o in order if o.timing is not None), 1):
        echo(f"{number}: {outcome.command}")
    for outcome in outcomes:
        if outcome.error is not None:
            echo(f"{outcome.name}: {outcome.error}")
    echo(f"from {float(part.seconds):g} s beginning at {float(part.start):g} s")


def _write(clip: Path, part: Part, outcomes: Sequence[Outcome], folder: Path, *, has_sheet: bool) -> None:
    told = {
        "clip": clip.name,
        "start": float(part.start),
        "seconds": float(part.seconds),
        "num_frames": part.num_frames,
        "trials": [outcome.as_dict() for outcome in outcomes],
    }
    (folder / "tune.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    if has_sheet:
        say(f"{folder / 'sheet.png'}: the first frame of each, beside bicubic enlargement")
    say(f"{folder / 'tune.json'}: all numbers")
