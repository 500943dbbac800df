"""Terms of licences, shown and accepted before anything is downloaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from starvsr.errors import OptionError

if TYPE_CHECKING:
    from starvsr.models.weights.components import Component


def ask_for_terms(parts: Sequence[Component], *, are_accepted: bool) -> None:
    """Show the terms that weights come under, and have them accepted.

    Args:
        parts: What is to be downloaded.
        are_accepted: The user has said so already; the terms are shown all the same.

    Raises:
        OptionError: They are not accepted, or nobody is there to ask.
    """
    names: dict[str, list[str]] = {}
    for part in parts:
        if part.terms:
            names.setdefault(f"{part.licence}: {part.terms}", []).append(part.name)
    for terms, of in names.items():
        click.echo(f"{', '.join(of)}: {terms}", err=True)
    if not names or are_accepted:
        return
    if not sys.stdin.isatty():
        raise OptionError("the licence has to be accepted before the download: read it and give --accept-licence")
    if not click.confirm("Do you accept these terms?", default=False, err=True):
        raise OptionError("nothing was downloaded, since the licence was not accepted")
