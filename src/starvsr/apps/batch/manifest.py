"""Which clips a batch has: the lines of a manifest (JSONL, Parquet), or the videos below a folder or prefix."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Any

from starvsr.apps.batch.clips import RECORDS, Clip, clip_options, plain_options
from starvsr.apps.batch.locations import Location, is_remote
from starvsr.errors import InputError, InputNotFoundError, OptionError
from starvsr.families.options import UpscaleOptions
from starvsr.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

MANIFESTS = (".jsonl", ".ndjson", ".parquet")
_KNOWN = {"input", "output"}
_ROWS = 1024


def read_clips(source: Location, common: UpscaleOptions) -> Iterator[Clip]:
    """Yield the clips of a batch, one by one.

    A line of a manifest is an object with ``input``, and as it likes ``output`` (relative to the destination) and
    options by the names of their flags (``{"input": "a.mp4", "scale": 2, "start": "1:05"}``); a Parquet file has
    columns of these names, and what is null is not given. Inputs are relative to the manifest's folder.

    Args:
        source: A manifest, a folder, a prefix of a store, or one video.
        common: Options of all clips.

    Raises:
        InputError: The manifest cannot be read, or holds no clip; names the line.
        OptionError: An option of a clip is wrong; names the line.
    """
    suffix = posixpath.splitext(source.name)[1].lower()
    if suffix in MANIFESTS and not source.is_folder():
        rows = _parquet_rows(source) if suffix == ".parquet" else _json_rows(source)
        found: Iterator[Clip] = (_clip(where, row, source.folder, common) for where, row in rows)
    elif source.is_folder():
        found = _in_folder(source, common)
    elif source.exists():
        if suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            raise InputError(
                f"{source}: neither a manifest ({', '.join(MANIFESTS)}) nor a video: give one, a folder or s3://bucket/prefix"
            )
        found = iter([_named_clip(source, source.name, common)])
    else:
        raise InputNotFoundError(f"{source}: no such manifest or folder; check the name")
    is_empty = True
    for clip in found:
        is_empty = False
        yield clip
    if is_empty:
        raise InputError(f"{source}: holds no clips; give a manifest with lines, or a folder with videos")


def _in_folder(folder: Location, common: UpscaleOptions) -> Iterator[Clip]:
    """Yield the videos below a folder; where there are none, the images."""
    images: list[str] = []
    is_empty = True
    for relative in folder.files():
        suffix = posixpath.splitext(relative)[1].lower()
        if RECORDS in relative.split("/")[:-1]:
            continue
        if suffix in VIDEO_SUFFIXES:
            is_empty = False
            yield _named_clip(folder.join(relative), relative, common)
        elif suffix in IMAGE_SUFFIXES and is_empty:
            images.append(relative)
    for relative in images if is_empty else ():
        yield _named_clip(folder.join(relative), relative, common)


def _named_clip(source: Location, relative: str, common: UpscaleOptions) -> Clip:
    return Clip(str(source), output_name(relative, common), plain_options(common))


def output_name(relative: str, options: UpscaleOptions) -> str:
    """Return the output of an input without one of its own: its path, with the name that `starvsr upscale` gives."""
    from pathlib import Path

    from starvsr.apps.cli.inputs import default_name

    folder, name = posixpath.split(relative)
    return posixpath.join(folder, default_name(Path(name), options))


def _clip(where: str, row: Any, folder: Location, common: UpscaleOptions) -> Clip:
    if not isinstance(row, dict):
        raise InputError(f'{where}: not an object; a line looks like {{"input": "clip.mp4"}}')
    given = {name: value for name, value in row.items() if value is not None}
    source = given.get("input")
    if not isinstance(source, str) or not source:
        raise InputError(f'{where}: no "input", the address of a clip; a line looks like {{"input": "clip.mp4"}}')
    try:
        options = clip_options(common, {name: value for name, value in given.items() if name not in _KNOWN})
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from None
    address = source if is_remote(source) or source.startswith("/") else str(folder.join(source))
    relative = source if address != source else posixpath.basename(source)
    output = given.get("output")
    if output is None:
        parts = [part for part in relative.split("/") if part not in ("", ".", "..")]
        output = output_name("/".join(parts), options)
    _check_output(where, output)
    return Clip(str(Location.of(address)), posixpath.normpath(output), plain_options(options))


def _check_output(where: str, output: Any) -> None:
    if not isinstance(output, str) or not output:
        raise InputError(f'{where}: "output" is not a name; give a path below the destination')
    parts = posixpath.normpath(output).split("/")
    if is_remote(output) or output.startswith("/") or ".." in parts or "\\" in output or "\0" in output:
        raise InputError(f'{where}: "output" {output!r} does not lie below the destination; give a relative path')
    if parts[0] == RECORDS:
        raise InputError(f'{where}: "output" {output!r}: {RECORDS}/ is for records; choose another folder')
    if output.endswith("/") or not posixpath.splitext(parts[-1])[1]:
        raise InputError(f'{where}: "output" {output!r}: a batch writes files: end it in .mp4, .mkv, ...')


def _json_rows(source: Location) -> Iterator[tuple[str, Any]]:
    with _reading(source) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
            if not text:
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise InputError(f"{source}, line {number}: no JSON ({error}); each line is one object") from None
            yield f"{source}, line {number}", row


def _parquet_rows(source: Location) -> Iterator[tuple[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise OptionError(
            f"{source}: Parquet needs pyarrow, which is not installed: pip install pyarrow, or give JSONL"
        ) from None
    with _reading(source) as file:
        number = 0
        try:
            for batch in parquet.ParquetFile(file).iter_batches(_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{source}, row {number}", row
        except ArrowInvalid as error:
            raise InputError(f"{source}: no Parquet file ({' '.join(str(error).split())}); write it anew") from None


def _reading(source: Location) -> Any:
    if source.is_local:
        try:
            return source.path.open("rb")
        except OSError as error:
            raise InputNotFoundError(
                f"{source}: no such manifest or folder, or it cannot be read ({error.strerror}); check the name"
            ) from None
    import io

    try:
        return io.BytesIO(source.read())
    except FileNotFoundError:
        raise InputNotFoundError(f"{source}: no such manifest; check the address") from None
