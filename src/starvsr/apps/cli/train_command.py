"""`starvsr train`: the door to training."""

from __future__ import annotations

from pathlib import Path

import click

from starvsr.errors import DataError, OutputExistsError


@click.command(short_help="Train a model by a recipe.")
@click.argument("recipe", type=click.Path(path_type=Path), metavar="RECIPE")
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path), help="Folder of the run (default: runs/RECIPE)."
)
@click.option("--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe.")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder.")
@click.option(
    "--start-from", type=click.Path(path_type=Path), metavar="FILE", help="Begin with the weights of another run."
)
def train(recipe: Path, folder: Path | None, overrides: tuple[str, ...], resume: bool, start_from: Path | None) -> None:
    """Train a model by a recipe (a file of recipes/) and export its weights."""
    if not recipe.is_file():
        raise DataError(f"{recipe}: there is no such recipe; the recipes of the project lie in recipes/")
    folder = folder or Path("runs") / recipe.stem
    begun = folder.is_dir() and any(folder.iterdir())
    if begun and not resume:
        raise OutputExistsError(f"{folder}: holds a run already; go on with it by --resume, or give another --output")
    if resume and not begun:
        raise DataError(f"{folder}: there is no run to go on with; leave out --resume")
    from starvsr.training.run import train as run_training

    click.echo(str(run_training(recipe, folder, overrides, start_from=start_from)))
