"""Find the prompts that people wrote: beside the clips, in a folder of texts, or in a file with a line for each clip.

``--prompt-from`` says where; without it, ``NAME.txt`` beside the clip NAME is read where there is one.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from starvsr.data.text_files import read_lines, read_text
from starvsr.errors import PromptError
from starvsr.families.options import UpscaleOptions
from starvsr.families.settings import NO_TEXTS
from starvsr.jobs.prompts.prompt import Prompt, given_options
from starvsr.video.patterns import is_pattern, pattern_head

SUFFIX = ".txt"
_NAMED = 4  # clips that an error names

Found = Prompt | PromptError | None
"""The prompt of a clip; an error that is raised when its turn comes; None where nobody wrote one."""


def find_prompts(clips: Sequence[Path], options: UpscaleOptions) -> dict[Path, Found]:
    """Find the prompts of clips that are upscaled together.

    Args:
        clips: Videos, images, folders of images that are one film, and patterns, in order.
        options: ``prompt_from`` says where to look; with ``caption``, clips may be without a text.

    Returns:
        What was found for each.

    Raises:
        PromptError: ``prompt_from`` is neither a folder nor a text file, or holds another number of lines than clips.
    """
    place = options.prompt_from
    if options.prompt is not None or place == NO_TEXTS:
        return dict.fromkeys(clips)
    if place is None:
        return _in_folders({clip: _folder_of(clip) for clip in clips}, options, is_wanted=False)
    if os.path.isdir(place):
        return _in_folders(dict.fromkeys(clips, Path(place)), options, is_wanted=options.caption is None)
    if not os.path.exists(place):
        raise PromptError(
            f"--prompt-from {place}: there is no such file or folder: give a folder of NAME.txt, or a text file with a "
            "line for each input"
        )
    return _in_lines(clips, Path(place), options)


def text_names(clip: Path) -> tuple[str, ...]:
    """Return the names, without ``.txt``, that the text of a clip may have: x and x.mp4 for x.mp4."""
    if is_pattern(clip):
        names = [pattern_head(clip.name)]
    elif clip.is_dir():
        names = [clip.resolve().name]
    else:
        names = [clip.stem, clip.name]
    return tuple(dict.fromkeys(map(_composed, names)))


def is_text_of(file: Path, clips: Sequence[Path]) -> bool:
    """Whether a file is the text of one of these clips, by its name."""
    return file.suffix.lower() == SUFFIX and any(_composed(file.stem) in text_names(clip) for clip in clips)


def _folder_of(clip: Path) -> Path:
    """Return the folder in which a clip lies."""
    return clip.resolve().parent if clip.is_dir() else clip.parent


def _in_folders(folders: Mapping[Path, Path], options: UpscaleOptions, *, is_wanted: bool) -> dict[Path, Found]:
    """Look for the text of each clip in a folder of its own.

    Args:
        folders: The folder of each clip.
        options: What the user gave.
        is_wanted: Whether a clip without a text is an error.
    """
    listed: dict[Path, dict[str, list[Path]]] = {}
    found: dict[Path, Found] = {}
    for clip, folder in folders.items():
        try:
            if folder not in listed:
                listed[folder] = _texts_in(folder, may_be_closed=options.prompt_from is None)
            found[clip] = _in_folder(clip, folder, listed[folder], options, is_wanted)
        except PromptError as error:
            found[clip] = error
    return found


def _in_folder(
    clip: Path, folder: Path, texts: Mapping[str, list[Path]], options: UpscaleOptions, is_wanted: bool
) -> Prompt | None:
    files = [file for name in text_names(clip) for file in texts.get(name, [])]
    if len(files) > 1:
        raise PromptError(f"{files[0]} and {files[1]} are both named as the text of {clip.name}: keep one of them")
    if not files:
        if is_wanted:
            raise PromptError(
                f"{folder}: no text for {clip.name}: write {text_names(clip)[0]}{SUFFIX} there, or add --caption for "
                "inputs without one"
            )
        return None
    text = read_text(files[0])
    if not text:
        raise PromptError(
            f"{files[0]}: empty: write what {clip.name} shows, remove it, or give --prompt-from {NO_TEXTS} to leave "
            "texts unread"
        )
    source = files[0].name if options.prompt_from is None else f"{folder.resolve().name}/{files[0].name}"
    return Prompt(text, source, given_options(options))


def _texts_in(folder: Path, *, may_be_closed: bool) -> dict[str, list[Path]]:
    """Return the text files of a folder by their names without suffix.

    Args:
        folder: The folder.
        may_be_closed: Take a folder that cannot be listed as one without texts.

    Raises:
        PromptError: The folder cannot be listed.
    """
    texts: dict[str, list[Path]] = {}
    try:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() == SUFFIX and not file.name.startswith(".") and not file.is_dir():
                texts.setdefault(_composed(file.stem), []).append(file)
    except OSError as error:
        if may_be_closed:
            return {}
        raise PromptError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
    return texts


def _in_lines(clips: Sequence[Path], file: Path, options: UpscaleOptions) -> dict[Path, Found]:
    lines = read_lines(file)
    if len(lines) != len(clips):
        order = ", ".join(clip.name for clip in clips[:_NAMED]) + (", ..." if len(clips) > _NAMED else "")
        count = (
            f"{len(lines)} line{'' if len(lines) == 1 else 's'} for {len(clips)} input{'' if len(clips) == 1 else 's'}"
        )
        raise PromptError(f"{file}: {count}: write a line for each, in this order: {order}")
    found: dict[Path, Found] = {}
    for number, (clip, line) in enumerate(zip(clips, lines, strict=True), 1):
        where = f"{file.name}, line {number}"
        if line:
            found[clip] = Prompt(line, where, given_options(options))
        else:
            found[clip] = PromptError(f"{file}, line {number}: empty: write what {clip.name} shows")
    return found


def _composed(name: str) -> str:
    """Return a name with composed letters: some systems write them apart."""
    return unicodedata.normalize("NFC", name)
