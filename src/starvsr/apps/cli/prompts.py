"""The prompts of all inputs of a command, found before the first of them is begun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.errors import OptionError, PromptError, StarVsrError
from starvsr.families.loading import reads_text
from starvsr.families.options import UpscaleOptions
from starvsr.families.settings import NO_TEXTS

if TYPE_CHECKING:
    from starvsr.apps.cli.inputs import Pair
    from starvsr.jobs.prompts.find import Found


def takes_texts(options: UpscaleOptions) -> bool:
    """Whether texts beside inputs are read."""
    if options.prompt is not None or options.prompt_from == NO_TEXTS:
        return False
    try:
        return reads_text(options)
    except OptionError:  # there is no such model: told when it is loaded
        return False


def find_all(pairs: Sequence[Pair], options: UpscaleOptions) -> dict[Path, Found]:
    """Find the prompts of all inputs; each photo of a folder of photos is one.

    Raises:
        PromptError: One cannot be read, is empty, or is missing; with ``--on-error skip`` only where that concerns all.
    """
    if not takes_texts(options):
        return {}
    from starvsr.jobs.photo_choice import are_photos
    from starvsr.jobs.prompts.find import find_prompts
    from starvsr.video.read.images import images_in

    clips: list[Path] = []
    for pair in pairs:
        try:
            is_folder = are_photos(pair.source, pair.output, options)
        except StarVsrError:  # told when its turn comes
            is_folder = False
        clips += images_in(pair.source) if is_folder else [pair.source]
    found = find_prompts(clips, options)
    for prompt in found.values() if options.on_error == "stop" else ():
        if isinstance(prompt, PromptError):
            raise prompt
    return found
