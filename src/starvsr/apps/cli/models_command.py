"""`starvsr models`: which models there are, and their weights: fetch, verify, convert, find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from starvsr.apps.cli.commands import ExampleGroup
from starvsr.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from starvsr.families.entry import Entry
    from starvsr.models.weights.cache import Places
    from starvsr.models.weights.components import Component

Function = TypeVar("Function", bound=Callable[..., Any])
_TYPES = {"keep": None, "fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


_EXAMPLES = (
    ("starvsr models list", "what there is, and what of it is on this machine"),
    ("starvsr models fetch star-light", "downloads it, or what is missing of it"),
    ("starvsr models verify star-light", "reads every file and compares its SHA-256"),
    ("starvsr models path star-light", "where its files lie"),
    ("starvsr models convert light_deg.pt -o DIR", "writes a folder of safetensors"),
)


@click.group(cls=ExampleGroup, examples=_EXAMPLES)
def models() -> None:
    """Show the models and look after their weights.

    Weights lie in the cache of huggingface_hub; HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE hold. Files of
    your own come first: put them into a folder and name it in STARVSR_MODELS.
    """


def _place_flags(function: Function) -> Function:
    for words, help_text in (
        (("--cache",), "Cache to use in place of the one of huggingface_hub."),
        (("--folder",), "Folder of your own to look into first (default: STARVSR_MODELS)."),
    ):
        function = click.option(*words, type=click.Path(path_type=Path, file_okay=False), help=help_text)(function)
    return function


@models.command("list", examples=_EXAMPLES[:1])
@_place_flags
def list_models(folder: Path | None, cache: Path | None) -> None:
    """List the models, the weights they are made of and those of metrics, and say what is on this machine."""
    from starvsr.families.registry import MODELS, all_components
    from starvsr.models.weights.cache import Places, locate
    from starvsr.models.weights.metric_files import METRIC_FILES, is_here

    places = Places(folder, cache)
    rows = [(name, f"x{e.scale}", e.licence, _state(e, places), e.summary) for name, e in MODELS.items()]
    _show_table(rows)
    click.echo("\nweights (each can be fetched by name):")
    _show_table(
        [
            (
                part.name,
                f"{part.bytes / 1e9:.1f} GB",
                part.licence,
                "here" if locate(part, places) else "not here",
                f"{part.summary}; {part.repos[0]}",
            )
            for part in all_components().values()
        ]
    )
    click.echo("\nweights of metrics, and what gets them:")
    _show_table(
        [
            (one.name, one.licence, "here" if is_here(one, places) else "not here", one.command)
            for one in METRIC_FILES.values()
        ]
    )


@models.command(examples=_EXAMPLES[1:2])
@click.argument("name")
@_place_flags
@click.option("--force", is_flag=True, help="Download again what is there.")
@click.option("--accept-licence", is_flag=True, help="Accept the terms of a licence that has to be accepted.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def fetch(name: str, folder: Path | None, cache: Path | None, force: bool, accept_licence: bool, quiet: bool) -> None:
    """Download the weights of NAME, or what is missing of them, and check them.

    An interrupted download goes on where it was. NAME is a model or one of its weights, as `starvsr models list`
    shows them. Where a licence restricts what the weights may be used for, its terms are shown and must be accepted.
    """
    from starvsr.apps.cli.fetch_progress import fetch_display
    from starvsr.apps.cli.licence_terms import ask_for_terms
    from starvsr.models.weights.cache import Places, locate
    from starvsr.models.weights.download import fetch as fetch_files

    parts = _components(name)
    missing = [part for part in parts if force or not locate(part, Places(folder, cache))]
    ask_for_terms(missing, are_accepted=accept_licence)
    for part in parts:
        try:
            with fetch_display(part.name, quiet=quiet) as on_progress:
                found = fetch_files(part, Places(folder, cache), force=force, on_progress=on_progress)
        except BaseException as stop:
            if not isinstance(stop, Exception):  # Ctrl-C or a signal
                click.echo("note: what was downloaded is kept; the same command goes on from there", err=True)
            raise
        for path in found.values():
            click.echo(f"{path}")


@models.command(examples=_EXAMPLES[2:3])
@click.argument("name")
@_place_flags
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def verify(name: str, folder: Path | None, cache: Path | None, quiet: bool) -> None:
    """Read every file of NAME and compare its SHA-256 with the published one, or with the one of the first download."""
    from starvsr.apps.cli.fetch_progress import fetch_display
    from starvsr.models.weights.cache import Places
    from starvsr.models.weights.download import verify as verify_files

    problems = []
    for part in _components(name, in_place_of_alternatives=Places(folder, cache)):
        with fetch_display(part.name, quiet=quiet) as on_progress:
            reports = list(verify_files(part, Places(folder, cache), on_progress=on_progress))
        for report in reports:
            if report.problem is None:
                source = "as published" if report.file.sha256 else "as noted at the first download"
                click.echo(f"{report.path}: {report.sha256}, {source}")
            else:
                problems.append(report.problem if report.path else f"{part.name}: {report.file.path} is not here")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WeightsError(f"{problems[0]}{more}; `starvsr models fetch {name}` gets what is missing")


@models.command(examples=_EXAMPLES[3:4])
@click.argument("name")
@_place_flags
def path(name: str, folder: Path | None, cache: Path | None) -> None:
    """Print where the weights of NAME lie, one file a line."""
    from starvsr.families.registry import MODELS
    from starvsr.models.weights import find_model
    from starvsr.models.weights.cache import Places, locate

    places = Places(folder, cache)
    entry = MODELS.get(name)
    if entry is not None and entry.packaged is not None:
        click.echo(entry.packaged_weights())
        return
    if entry is not None and entry.parts:
        found = find_model(entry, places=places).values()
    else:
        (part,) = _components(name)
        located = locate(part, places)
        if located is None:
            raise WeightsError(
                f"{name} is not on this machine (looked in {places.describe()}): `starvsr models fetch {name}` gets it"
            )
        found = located.values()
    for file in found:
        if file is not None:
            click.echo(file)


@models.command(examples=_EXAMPLES[4:5])
@click.argument("what", metavar="NAME|FILE|FOLDER")
@click.option("-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--dtype", type=click.Choice(list(_TYPES)), default="keep", show_default=True, help="Number type.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace a model folder that is there.")
@_place_flags
def convert(what: str, out: Path, dtype: str, overwrite: bool, folder: Path | None, cache: Path | None) -> None:
    """Write a model folder of safetensors, laid out as diffusers does.

    Of a model's NAME come all its parts, of a FILE (.pt or .safetensors) the network alone, and of a FOLDER all that is
    in it: a model folder (with model_index.json, such as a trained one), or one as CogVideo lays it out (with a file
    `latest`). Give the folder that was written to `starvsr upscale --weights`, or put it under the model's name into
    the folder STARVSR_MODELS. Weights that are not known as published ones are marked as your own.
    """
    import torch

    from starvsr.families.recognize import entry_of_model_folder, entry_with_folder
    from starvsr.families.registry import MODELS
    from starvsr.models.weights import find_model
    from starvsr.models.weights.cache import Places
    from starvsr.models.weights.locate import files_of_folder
    from starvsr.models.weights.model_folder import name_of, write_folder

    places = Places(folder, cache)
    number_type = None if _TYPES[dtype] is None else getattr(torch, str(_TYPES[dtype]))
    with_folder = {name: entry for name, entry in MODELS.items() if entry.folder is not None}
    entry = with_folder.get(what)
    name = None if entry is None else entry.name
    if entry is not None:
        parts = entry.folder_parts(find_model(entry, places=places), cache=places.cache_folder())
    elif (entry := entry_of_model_folder(Path(what))) is not None:
        name = name_of(Path(what))
        parts = entry.folder_parts(files_of_folder(entry, Path(what)), cache=places.cache_folder())
    elif Path(what).exists():
        entry = entry_with_folder(Path(what))
        files = entry.files_in(Path(what)) or {entry.weights_role: Path(what)}
        parts = entry.folder_parts(files, cache=places.cache_folder())
    else:
        raise OptionError(f"{what} is neither a file nor a model that is fetched ({', '.join(with_folder)})")
    told = write_folder(parts, out, pipeline=entry.folder_class, name=name, dtype=number_type, overwrite=overwrite)
    for file, words in told.items():
        click.echo(f"{out / file}: {words}")


def _components(name: str, in_place_of_alternatives: Places | None = None) -> list[Component]:
    """Return the weights that a name stands for; where several could serve, the ones that are here, else the first."""
    from starvsr.families.registry import MODELS, all_components
    from starvsr.models.weights.cache import locate
    from starvsr.models.weights.components import get_component

    spec = MODELS.get(name)
    if spec is not None and not spec.is_trained and not spec.parts:
        raise OptionError(f"{name} has no weights yet: train them by recipes/{name}.toml and give --weights FILE")
    if spec is not None and not spec.parts:
        raise OptionError(f"{name} comes with the package: there is nothing to do")
    if spec is None:
        components = all_components()
        if name not in components:
            known = [*MODELS, *components]
            raise OptionError(f"unknown model {name!r}: known are {', '.join(known)}; see `starvsr models list`")
        return [components[name]]
    if in_place_of_alternatives is None:
        return spec.components()
    chosen = []
    for names in spec.parts.values():
        parts = [get_component(part) for part in names]
        chosen.append(next((part for part in parts if locate(part, in_place_of_alternatives)), parts[0]))
    return chosen


def _state(spec: Entry, places: Places) -> str:
    from starvsr.models.weights import find_model

    if not spec.is_trained:
        return "train your own"
    if not spec.parts:
        return "in the package" if spec.packaged else "needs none"
    try:
        find_model(spec, places=places)
    except WeightsError:
        return f"fetch: {sum(part.bytes for part in spec.components()) / 1e9:.1f} GB"
    return "here"


def _show_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))
