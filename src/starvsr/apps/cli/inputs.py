"""Which inputs become which outputs: files, folders and patterns in; names out."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from starvsr.errors import InputNotFoundError, OptionError, OutputNotWritableError, UnreadableInputError

WRITABLE = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
ANIMATIONS = (".gif", ".webp", ".apng")
_VIDEO_SUFFIXES = (
    ".264 .265 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg "
    ".mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .y4m"
)
VIDEO_SUFFIXES = frozenset(_VIDEO_SUFFIXES.split())


@dataclass(frozen=True)
class Pair:
    """One input and its output."""

    source: Path
    output: Path


def pair_up(inputs: tuple[str, ...], out: str | None, scale: float) -> list[Pair]:
    """Find the inputs that the words name and give each its output.

    Without ``out`` each output lies beside its input. An ``out`` that is a folder, or several inputs, put
    ``<name>_x4.<suffix>`` into that folder; else ``out`` is the output itself.

    Raises:
        InputNotFoundError: a word names nothing.
        OutputNotWritableError: the folder for several outputs is missing.
        OptionError: two inputs would get the same output.
    """
    sources = [source for word in inputs for source in expand(word)]
    if out is None:
        pairs = [Pair(source, source.parent / default_name(source, scale)) for source in sources]
    elif len(sources) > 1 or _means_folder(out):
        folder = Path(out)
        if not folder.is_dir():
            raise OutputNotWritableError(
                f"{out}: {len(sources)} inputs need a folder to go to, and there is none of that name: create it first"
            )
        pairs = [Pair(source, folder / default_name(source, scale)) for source in sources]
    else:
        pairs = [Pair(sources[0], Path(out))]
    _refuse_collisions(pairs)
    return pairs


def _means_folder(out: str) -> bool:
    return out.endswith(("/", "\\")) or Path(out).is_dir()


def _refuse_collisions(pairs: list[Pair]) -> None:
    taken: dict[Path, Path] = {}
    for pair in pairs:
        other = taken.setdefault(pair.output, pair.source)
        if other is not pair.source:
            raise OptionError(f"{other} and {pair.source} would both become {pair.output}: do them one by one with -o")


def expand(word: str) -> list[Path]:
    """Return the inputs that one word of the command names.

    Raises:
        InputNotFoundError: there is nothing of that name.
        UnreadableInputError: a folder holds neither videos nor images.
    """
    path = Path(word)
    if path.is_dir():
        return _in_folder(path)
    if not path.exists() and glob.has_magic(word):
        found = sorted(Path(hit) for hit in glob.glob(word) if Path(hit).is_file())
        if not found:
            raise InputNotFoundError(f"{word}: no file matches; check the folder and the pattern")
        return found
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    from starvsr.video.images import IMAGE_SUFFIXES

    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    videos = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return videos
    if any(p.suffix.lower() in IMAGE_SUFFIXES for p in files):
        return [folder]
    raise UnreadableInputError(f"{folder}: neither videos nor images in this folder; give another one")


def default_name(source: Path, scale: float) -> str:
    """Return the name of the output of an input: its own with `_x4` behind it.

    The suffix stays where that container can be written; others become .mkv, which holds every stream. GIF and
    WebP become .mp4, images .png, and folders and patterns of images a folder of PNG files.
    """
    from starvsr.video.images import IMAGE_SUFFIXES, is_pattern

    mark = f"_x{scale:g}"
    suffix = source.suffix.lower()
    if is_pattern(source):
        return f"{source.name.split('%')[0].rstrip('_-. ') or 'frames'}{mark}"
    if source.is_dir():
        return f"{source.resolve().name}{mark}"
    if suffix in ANIMATIONS:
        return f"{source.stem}{mark}.mp4"
    if suffix in IMAGE_SUFFIXES:
        return f"{source.stem}{mark}.png"
    return f"{source.stem}{mark}{suffix if suffix in WRITABLE else '.mkv'}"
