"""Commands that show their examples on lines of their own, and groups that show their help when called alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

HELP_FLAGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _WithExamples:
    """The help of a command ends in examples: (what to type, what it does)."""

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **details: Any) -> None:
        details.setdefault("context_settings", HELP_FLAGS)
        super().__init__(*args, **details)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for words, what in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{words}\n")
                    if what:
                        formatter.write(f"{'':>{formatter.current_indent}}    {what}\n")


class ExampleCommand(_WithExamples, click.Command):
    """A command with examples."""


class ExampleGroup(_WithExamples, click.Group):
    """A group with examples that shows its help when it is called without a command."""

    command_class = ExampleCommand

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words behind the command; without any, show what there is."""
        if not args:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)
