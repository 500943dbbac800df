"""`starvsr train` and `starvsr export`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from starvsr.apps.cli.commands import ExampleCommand
from starvsr.errors import DataError, OptionError, OutputExistsError

_TRAIN = (
    ("starvsr train recipes/star-small.toml", "into runs/star-small"),
    ("starvsr train recipes/star-small.toml --override data.videos=clips", ""),
    ("starvsr train recipes/star-small.toml --resume", "resumes that run"),
)
_EXPORT = (
    ("starvsr export runs/star-small", "writes runs/star-small/weights.safetensors"),
    ("starvsr export runs/star-cogvideox-5b --lora", "writes runs/star-cogvideox-5b/lora.safetensors"),
    ("starvsr export runs/looks --begun-with star-small.safetensors --share 0.6", "goes 0.6 of the way to the run's"),
    ("starvsr export runs/causal-sr --format onnx", "writes runs/causal-sr/weights.onnx"),
    ("starvsr export both.safetensors --format onnx --detail 0.7", "writes both.onnx"),
)


@click.command(cls=ExampleCommand, examples=_TRAIN, short_help="Train a model by a recipe.")
@click.argument("recipe", type=click.Path(path_type=Path), metavar="RECIPE")
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path), help="Folder of the run (default: runs/RECIPE)."
)
@click.option("--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe.")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder.")
@click.option("--allow-changes", is_flag=True, help="With --resume: go on although the recipe was changed.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda", help="Where to train.")
@click.option("--plan", is_flag=True, help="Only tell the recipe's memory per device, on torch's meta device.")
@click.option("--devices", default=8, show_default=True, type=click.IntRange(1), help="With --plan: how many.")
@click.option("--device-gib", default=80.0, show_default=True, help="With --plan: memory of each, in GiB.")
@click.option(
    "--start-from",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Begin with the weights of another run (stablevsr: a folder with what it trains); gates of LIEM may be new, "
    "and causal-sr may be wider than its weights.",
)
def train(
    recipe: Path,
    folder: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    allow_changes: bool,
    device: str,
    plan: bool,
    devices: int,
    device_gib: float,
    start_from: Path | None,
) -> None:
    """Train a model by a recipe (a file of recipes/) and export its weights.

    On several processes: torchrun --nproc-per-node N -m starvsr train RECIPE ...
    """
    if not recipe.is_file():
        raise DataError(f"{recipe}: there is no such recipe; the recipes of the project lie in recipes/")
    if plan:
        _show_plan(recipe, overrides, devices, device_gib)
        return
    folder = folder or Path("runs") / recipe.stem
    first = os.environ.get("RANK", "0") == "0"  # the others may find what the first one has just begun
    begun = folder.is_dir() and any(folder.iterdir())
    if begun and not resume and first:
        raise OutputExistsError(f"{folder}: holds a run already; resume it with --resume, or give another --output")
    if resume and not begun:
        raise DataError(f"{folder}: there is no run to resume; leave out --resume")
    from starvsr.training.run import train as run_training

    path = run_training(
        recipe,
        folder,
        overrides,
        start_from=start_from,
        device=device,
        allow_changes=allow_changes,
    )
    if first:
        click.echo(str(path))


def _show_plan(recipe: Path, overrides: tuple[str, ...], devices: int, device_gib: float) -> None:
    from starvsr.training.memory import plan_recipe
    from starvsr.training.recipe import load_recipe

    for number, plan in enumerate(plan_recipe(load_recipe(recipe, overrides), devices)):
        click.echo(f"stage {number}: " + plan.table(device_gib))


@click.command(cls=ExampleCommand, examples=_EXPORT, short_help="Make weights for `upscale` out of a training run.")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    help="A .safetensors file; for stablevsr and star-cogvideox a folder; an .onnx file with --format onnx (default: "
    "in RUN).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["safetensors", "onnx"]),
    default="safetensors",
    show_default=True,
    help="onnx: a file for other programs, of a run or of exported weights (causal-sr).",
)
@click.option("--raw", is_flag=True, help="The last weights instead of their average over the steps.")
@click.option(
    "--faithful",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights exported before the run was trained for looks: both ends go into one file, for `upscale --detail`.",
)
@click.option(
    "--vivid",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights that the run began with and was trained back to fidelity from: both ends go into one file, likewise.",
)
@click.option("--int8", is_flag=True, help="Large weights in 8 bits: half the size (star-small, causal-sr).")
@click.option(
    "--lora",
    is_flag=True,
    help="What was trained alone (star-cogvideox): a file to put on top of the CogVideoX that the run began with.",
)
@click.option(
    "--begun-with",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The weights of `train --start-from`: what is written lies between them and the run's own, at --share.",
)
@click.option("--share", type=click.FloatRange(0, 1), help="With --begun-with: 0 for these, 1 for the run's own.")
@click.option("--detail", type=click.FloatRange(0, 1), help="With --format onnx: as in `upscale --detail`.")
def export(
    source: Path,
    out: Path | None,
    form: str,
    raw: bool,
    faithful: Path | None,
    vivid: Path | None,
    int8: bool,
    lora: bool,
    begun_with: Path | None,
    share: float | None,
    detail: float | None,
) -> None:
    """Write the weights of the newest checkpoint of a run as float16 safetensors, with a model card beside them."""
    if lora and (form == "onnx" or faithful is not None):
        raise OptionError("--lora is written as safetensors, alone: leave out --format onnx and --faithful")
    if faithful is not None and vivid is not None:
        raise OptionError("--faithful and --vivid exclude each other: the run is the other end")
    if (vivid is not None or int8) and (lora or form == "onnx"):
        raise OptionError("--vivid and --int8 are for safetensors of a whole network: leave out --lora, --format onnx")
    if (begun_with is None) != (share is None):
        raise OptionError("--begun-with and --share go together: weights, and how far to go from them")
    if begun_with is not None and (lora or form == "onnx"):
        raise OptionError("--begun-with is for safetensors of a whole network: leave out --lora and --format onnx")
    if form == "onnx":
        from starvsr.training.onnx_file import export_onnx

        click.echo(str(export_onnx(source, out, raw=raw, faithful=faithful, detail=detail)))
        return
    if detail is not None:
        raise OptionError("--detail is chosen when weights are used (`starvsr upscale`), or with --format onnx")
    if source.is_file():
        raise DataError(f"{source}: give the folder of a training run; a file of weights only with --format onnx")
    if not source.is_dir():
        raise DataError(f"{source}: there is no such folder; give the folder of a training run")
    if out is not None and out.suffix not in ("", ".safetensors"):
        raise OptionError(f"{out}: weights are written as safetensors; give a name that ends in .safetensors")
    from starvsr.training.run import export as run_export

    path = run_export(
        source,
        out,
        raw=raw,
        faithful=faithful,
        lora=lora,
        begun_with=begun_with,
        share=1.0 if share is None else share,
        vivid=vivid,
        int8=int8,
    )
    click.echo(f"{path} and {path.with_suffix('.md').name}")
