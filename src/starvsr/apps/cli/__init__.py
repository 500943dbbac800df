"""The command `starvsr`. Each subcommand lives in a file of its own and is imported when it is called.

Nothing here loads torch, so `starvsr --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from starvsr.apps.cli.commands import ExampleGroup
from starvsr.apps.cli.exit_codes import run_command
from starvsr.version import __version__

_COMMANDS = {
    "upscale": ("upscale_command:upscale", "Enlarge videos and images."),
    "batch": ("batch_command:batch", "Upscale many clips on many devices."),
    "info": ("info_command:info", "Show what a file holds."),
    "evaluate": ("evaluate_command:evaluate", "Score results and write a report."),
    "benchmark": ("benchmark_command:benchmark", "Run models on a data set and print the table of their scores."),
    "tune": ("tune_command:tune", "Try models and settings on a few seconds of a clip."),
    "serve": ("serve_command:serve", "Serve a page and an HTTP API with a queue of jobs."),
    "jobs": ("jobs_command:jobs", "Show, resume or remove interrupted jobs."),
    "models": ("models_command:models", "Show the models and look after their weights."),
    "train": ("train_command:train", "Train a model by a recipe."),
    "export": ("train_command:export", "Make weights for `upscale` out of a training run."),
    "degrade": ("degrade_command:degrade", "Make sharp clips look like bad ones, one clip or a whole training set."),
}
"""Where each command is, and its short help: what the list of commands needs of them without their import."""

_EXAMPLES = (
    ("starvsr upscale clip.mp4", "writes clip_x4.mp4 beside it"),
    ("starvsr upscale clip.mp4 -o big.mkv --compare", ""),
    ("starvsr upscale clip.mp4 --height 1080", "to a size, keeping the aspect"),
    ("starvsr upscale clip.mp4 --dry-run", "shows the plan"),
    ("starvsr info clip.mp4", ""),
    ("starvsr jobs list", "what interrupted jobs have left"),
)


class _LazyGroup(ExampleGroup):
    """A group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(f"starvsr.apps.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in _COMMANDS.items()])


@click.command(cls=_LazyGroup, examples=_EXAMPLES)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="On an error, show where it came from.")
def cli(debug: bool) -> None:
    """Turn low-quality video into sharp, steady video, four times as large."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 well, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 terminated."""
    words = list(sys.argv[1:] if args is None else args)
    return run_command(cli, words)
