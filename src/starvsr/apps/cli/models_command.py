"""`starvsr models`: which models there are."""

from __future__ import annotations

import click


@click.group()
def models() -> None:
    """Show the models."""


@models.command("list")
def list_models() -> None:
    """List the models by name."""
    from starvsr.models.registry import MODELS

    rows = [(name, f"x{spec.scale}", spec.licence, spec.summary) for name, spec in MODELS.items()]
    rows.append(("bicubic", "x4", "-", "no network: plain interpolation, for comparison"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
