"""`starvsr jobs`: what interrupted jobs have left, going on with them, and removing them."""

from __future__ import annotations

from pathlib import Path

import click

from starvsr.apps.cli.commands import ExampleGroup
from starvsr.apps.cli.terminal import echo
from starvsr.errors import JobError
from starvsr.quantities import format_size

_EXAMPLES = (
    ("starvsr jobs list", "those whose outputs go here"),
    ("starvsr jobs list ~/videos", ""),
    ("starvsr jobs show clip_x4.mp4", ""),
    ("starvsr jobs resume clip_x4.mp4", "resumes without the command that began it"),
    ("starvsr jobs clean --all .", "removes all in this folder"),
)


@click.group(cls=ExampleGroup, examples=_EXAMPLES, short_help="Show, resume or remove interrupted jobs.")
def jobs() -> None:
    """Show, resume or remove interrupted jobs.

    An interrupted job keeps what it had finished in OUT.job beside its output. The command that began it resumes with
    it; these commands are for those who no longer know it. JOB is the output's name, or the job folder's.
    """


@jobs.command("list", examples=_EXAMPLES[:2])
@click.argument("folders", nargs=-1, metavar="[FOLDER...]")
def list_jobs(folders: tuple[str, ...]) -> None:
    """List the jobs in folders (default: here)."""
    from starvsr.jobs.inspect import find_jobs, summarize

    for job in (summarize(found) for folder in folders or (".",) for found in find_jobs(Path(folder))):
        size = format_size(job.folder.num_bytes)
        echo(f"{job.output}: {job.progress}, {size}, {job.status}")


@jobs.command("show", examples=_EXAMPLES[2:3])
@click.argument("name", metavar="JOB")
def show(name: str) -> None:
    """Show what a job is and how far."""
    from starvsr.jobs.inspect import find_job, summarize

    job = summarize(find_job(name))
    rows = [("output", str(job.output)), ("state", job.status), ("done", job.progress)]
    rows.append(("parts", f"{len(job.state.parts)}, {format_size(job.state.num_bytes)}"))
    rows.append(("runs", str(job.num_runs)))
    if job.num_damaged:
        rows.append(("damaged", f"{job.num_damaged} lines of the journal"))
    if job.plan is not None:
        rows.append(("input", job.plan["input"]["path"]))
        rows.append(("model", job.plan["model"]["name"]))
        rows.append(("encoding", job.plan["encoding"]))
        rows.append(("size", "x".join(map(str, job.plan["size"]))))
        if "prompt" in job.plan:
            rows.append(("prompt", f"{job.plan['prompt']['text']} ({job.plan['prompt']['source']})"))
        rows.append(("options", ", ".join(f"{n} {v}" for n, v in job.plan["options"].items()) or "none"))
    for row, value in rows:
        echo(f"{row + ':':<12} {value}")


@jobs.command("resume", examples=_EXAMPLES[3:4])
@click.argument("names", nargs=-1, required=True, metavar="JOB...")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notes.")
def resume(names: tuple[str, ...], quiet: bool) -> int:
    """Go on with jobs as they were begun."""
    from starvsr.apps.cli.inputs import Pair
    from starvsr.apps.cli.upscale_command import Runner
    from starvsr.families.options import options_from
    from starvsr.jobs.inspect import find_job, summarize
    from starvsr.jobs.prompts.prompt import kept_prompt

    for job in [summarize(find_job(name)) for name in names]:
        if job.plan is None:
            what = "it has a caption and no plan yet" if job.is_caption_alone else "its plan is damaged"
            raise JobError(
                f"{job.folder.path}: {what}; give the command that began it once more, or remove it with "
                "`starvsr jobs clean`"
            )
        source = Path(job.plan["input"]["path"])
        runner = Runner(options_from(job.plan["options"]), dry_run=False, quiet=quiet, prompts=kept_prompt(job.plan))
        runner.run(Pair(source, job.output))
    return 0


@jobs.command("clean", examples=(("starvsr jobs clean clip_x4.mp4", ""), *_EXAMPLES[4:]))
@click.argument("names", nargs=-1, metavar="[JOB...]")
@click.option("--all", "folder", metavar="FOLDER", help="All jobs in this folder.")
def clean(names: tuple[str, ...], folder: str | None) -> None:
    """Remove jobs and what they had finished; inputs and outputs are not touched."""
    from starvsr.jobs.inspect import find_job, find_jobs, remove_job

    if not names and folder is None:
        raise click.UsageError("name a job, or give --all FOLDER")
    found = [find_job(name) for name in names] + (find_jobs(Path(folder)) if folder is not None else [])
    for job in found:
        echo(f"{job.path}: removed, {format_size(remove_job(job))} freed")
