"""Which inputs become which outputs: files, folders and patterns in; names out. Refused before the first begins."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starvsr.errors import InputError, InputNotFoundError, OptionError, OutputNotWritableError, UnreadableInputError
from starvsr.families.options import UpscaleOptions
from starvsr.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

WRITABLE = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
ANIMATIONS = (".gif", ".webp", ".apng")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(//|\\\\)|(pipe|concat|data|magnet|rtp|udp|tcp|mailto):", re.ASCII)
_NAMED = 3  # files that a note names


@dataclass(frozen=True)
class Pair:
    """One input and its output.

    Args:
        source: The input.
        output: The output.
        makes_folder: Whether the folder of the output was named as one, and is made where it is not there.
    """

    source: Path
    output: Path
    makes_folder: bool = False


@dataclass(frozen=True)
class Inputs:
    """What the words of a command name.

    Args:
        sources: Files, folders of images and patterns, in order.
        notes: What was passed over, one sentence for each folder.
    """

    sources: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def find_inputs(words: Sequence[str], *, has_output: bool, skip: bool = False, takes_texts: bool = False) -> Inputs:
    """Find what the words name; all are looked at before anything begins.

    Args:
        words: Files, folders, patterns.
        has_output: Whether an output was named; when not, the last word may be meant as one.
        skip: Take words that name nothing as they are: they fail when their turn comes.
        takes_texts: Whether the texts of inputs are read, and so not passed over.

    Raises:
        InputNotFoundError: A word names nothing.
        UnreadableInputError: A folder holds neither videos nor images.
    """
    sources: list[Path] = []
    notes: list[str] = []
    for place, word in enumerate(words):
        _refuse_no_file("", word)
        try:
            found = expand(word, takes_texts=takes_texts)
        except InputError as error:
            is_missing = isinstance(error, InputNotFoundError)
            if is_missing and not has_output and 0 < place == len(words) - 1 and _may_be_output(word):
                raise InputNotFoundError(f"{word}: no such file; did you mean -o {word}?") from error
            if not skip:
                raise
            found = Inputs((Path(word),))
        sources += found.sources
        notes += found.notes
    return Inputs(tuple(sources), tuple(notes))


def _may_be_output(word: str) -> bool:
    from starvsr.video.patterns import is_pattern

    suffix = Path(word).suffix.lower()
    return suffix in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, "") or is_pattern(Path(word))


def pair_up(sources: Sequence[Path], out: str | None, options: UpscaleOptions) -> list[Pair]:
    """Give each input its output.

    Without ``out`` each output lies beside its input. An ``out`` that is a folder or ends in a slash, or several
    inputs, put ``<name>_x4.<suffix>`` into that folder, which need not be there yet; else ``out`` is the output itself,
    as it is for one folder of images.

    Raises:
        OutputNotWritableError: Several outputs cannot go into one file.
        OptionError: Two inputs would get the same output, or ``out`` is none.
    """
    if out is None:
        from starvsr.video.read.opening import check_file

        for source in sources:
            if Path(os.path.abspath(source)).parts[1:2] in (("dev",), ("proc",)):
                check_file(source)  # what cannot be read needs no place for an output
                raise OptionError(f"{source}: no place for an output: name one by -o")
        pairs = [Pair(source, source.parent / default_name(source, options)) for source in sources]
    else:
        _refuse_no_file("-o ", out)
        folder = Path(out)
        if len(sources) > 1 and not _means_folder(out) and folder.suffix:
            raise OutputNotWritableError(
                f"{out}: {len(sources)} inputs do not go into one file: give a folder ({folder.stem}/)"
            )
        is_folder = len(sources) > 1 or (_means_folder(out) and not _becomes_folder(sources[0]))
        pairs = [Pair(s, folder / default_name(s, options), True) if is_folder else Pair(s, folder) for s in sources]
    _refuse_collisions(pairs)
    return pairs


def _becomes_folder(source: Path) -> bool:
    """Whether an input is many images, which a folder named as output holds itself."""
    from starvsr.video.patterns import is_pattern

    return source.is_dir() or is_pattern(source)


def _means_folder(out: str) -> bool:
    return out.endswith(("/", "\\")) or os.path.isdir(out)


def _refuse_collisions(pairs: list[Pair]) -> None:
    taken: dict[Path, Path] = {}
    for pair in pairs:
        other = taken.setdefault(pair.output, pair.source)
        if other is not pair.source:
            raise OptionError(f"{other} and {pair.source} would both become {pair.output}: do them one by one with -o")


def _refuse_no_file(before: str, word: str) -> None:
    """Refuse addresses; a file of that very name is taken."""
    if os.path.exists(word):
        return
    error = OptionError if before else InputNotFoundError
    if word == "":
        raise error(f"{before}'': an empty name: give the name of a file")
    if _ADDRESS.match(word):
        if word.startswith("file:"):
            raise error(f"{before}{word}: addresses are not opened: give the path of the file, without file://")
        what = "write to a file and send that" if before else "download it first, and give the file"
        raise error(f"{before}{word}: addresses are not opened: {what}")


def expand(word: str, *, takes_texts: bool = False) -> Inputs:
    """Return the inputs that one word of the command names.

    Args:
        word: A file, a folder or a pattern.
        takes_texts: As for `find_inputs`.

    Raises:
        InputNotFoundError: there is nothing of that name.
        UnreadableInputError: a folder holds neither videos nor images.
    """
    from starvsr.video.patterns import is_pattern
    from starvsr.video.read.opening import check_file

    path = Path(word)
    if os.path.isdir(path):
        return _in_folder(path, takes_texts)
    if not os.path.lexists(path) and not is_pattern(path) and glob.has_magic(word):
        found = sorted(Path(hit) for hit in glob.glob(word) if Path(hit).is_file())
        if not found:
            raise InputNotFoundError(f"{word}: no file matches; check the folder and the pattern")
        return Inputs(tuple(found))
    if is_pattern(path):
        from starvsr.video.read.images import list_images

        list_images(path)
    else:
        check_file(path)
    return Inputs((path,))


def _in_folder(folder: Path, takes_texts: bool) -> Inputs:
    from starvsr.video.read.images import natural_key

    try:
        entries = sorted(folder.iterdir(), key=natural_key)
    except OSError as error:
        raise UnreadableInputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
    seen = [entry for entry in entries if not entry.name.startswith(".")]
    videos = [entry for entry in seen if entry.suffix.lower() in VIDEO_SUFFIXES and entry.is_file()]
    images = [entry for entry in seen if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    taken = set(videos or images)
    others = [entry for entry in seen if entry not in taken]
    if takes_texts:
        others = _without_texts(others, videos or images)
    notes = _passed_over(folder, others, len(entries) - len(seen))
    if taken:
        return Inputs(tuple(videos) or (folder,), notes)
    inside = [entry.name for entry in seen if entry.is_dir()]
    hint = f"; folders in it are not looked into: give {inside[0]} itself" if inside else "; give another one"
    raise UnreadableInputError(f"{folder}: neither videos nor images in this folder{hint}")


def _without_texts(others: list[Path], clips: list[Path]) -> list[Path]:
    from starvsr.jobs.prompts.find import is_text_of

    return [entry for entry in others if entry.is_dir() or not is_text_of(entry, clips)]


def _passed_over(folder: Path, others: list[Path], num_hidden: int) -> tuple[str, ...]:
    """Say what of a folder is not taken."""
    jobs = [entry for entry in others if entry.is_dir() and entry.name.endswith(".job")]
    folders = [entry.name for entry in others if entry.is_dir() and entry not in jobs]
    files = [entry.name for entry in others if not entry.is_dir()]
    parts = [_count(files, "file"), _count(folders, "folder")]
    parts += [f"{num_hidden} hidden"] if num_hidden else []
    told = ", ".join(part for part in parts if part)
    return (f"{folder}: passed over {told}",) if told else ()


def _count(names: list[str], kind: str) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({', '.join(names[:_NAMED])}{more})"


def default_name(source: Path, options: UpscaleOptions) -> str:
    """Return the name of the output of an input: its own with `_x4` behind it, or the size that was asked for.

    The suffix stays where that container can be written; others become .mkv, which holds every stream. GIF and
    WebP become .mp4, images .png, and folders and patterns of images a folder of PNG files. A name that is too long
    for the file system is shortened.
    """
    from starvsr.video.patterns import is_pattern, pattern_head
    from starvsr.video.write.file_names import fitting

    if is_pattern(source):
        stem, suffix = pattern_head(source.name), ""
    elif source.is_dir():
        stem, suffix = source.resolve().name.replace(".", "_") or "images", ""  # with a dot, it would be a file
    else:
        stem, suffix = source.stem, _output_suffix(source.suffix.lower())
    mark = _mark(options) + suffix
    made = fitting(source, stem, after=mark)
    return made.name if not is_pattern(made) else fitting(source, stem.replace("%", "_"), after=mark).name


def _output_suffix(suffix: str) -> str:
    if suffix in ANIMATIONS:
        return ".mp4"
    if suffix in IMAGE_SUFFIXES:
        return ".png"
    return suffix if suffix in WRITABLE else ".mkv"


def _mark(options: UpscaleOptions) -> str:
    if options.height is not None:
        return f"_{options.height}p"
    if options.width is not None:
        return f"_w{options.width}"
    return f"_{options.fit}" if options.fit is not None else f"_x{options.scale:g}"
