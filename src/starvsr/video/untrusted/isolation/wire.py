"""Messages between the parent and the decoder's process: a fixed header, JSON, raw bytes. No pickles.

Header: four bytes ``SVsr``, the length of the JSON (32 bits) and of the raw bytes (64 bits), little-endian.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
import types
import typing
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct("<4sIQ")
_MAGIC = b"SVsr"
_LONGEST_JSON = 256 << 20
_LARGEST_INT = 2**63  # in amount


class WireError(Exception):
    """What came is no message, or not of the types that are wanted."""


def send(pipe: BinaryIO, message: dict[str, Any], raw: Any = b"") -> None:
    """Write a message; ``raw`` is any contiguous buffer."""
    text = json.dumps(message, separators=(",", ":")).encode()
    size = memoryview(raw).nbytes
    pipe.write(HEADER.pack(_MAGIC, len(text), size) + text)
    if size:
        pipe.write(raw)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], int]:
    """Read a message up to its raw bytes.

    Returns:
        The message, and the number of raw bytes that follow.

    Raises:
        EOFError: The other side is gone.
        WireError: It is no message.
    """
    magic, size, raw = HEADER.unpack(read_exactly(pipe, HEADER.size))
    if magic != _MAGIC or size > _LONGEST_JSON:
        raise WireError("no message")
    try:
        message = json.loads(read_exactly(pipe, size))
    except (ValueError, RecursionError):
        raise WireError("no JSON") from None
    if not isinstance(message, dict):
        raise WireError("no object")
    return message, raw


def read_exactly(pipe: BinaryIO, size: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: There are fewer.
    """
    data = bytearray(size)
    read_into(pipe, memoryview(data))
    return bytes(data)


def read_into(pipe: BinaryIO, view: memoryview) -> None:
    """Fill a buffer.

    Raises:
        EOFError: There is less.
    """
    place = 0
    while place < len(view):
        count = pipe.readinto(view[place:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        place += count


# ---- values


def pack(value: Any) -> Any:
    """Turn dataclasses, fractions, bytes, paths and tuples into JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: pack(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (tuple, list)):
        return [pack(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): pack(part) for key, part in value.items()}
    return value


def unpack(kind: Any, value: Any) -> Any:
    """Turn JSON types back into what ``pack`` was given, checking every type on the way.

    Args:
        kind: The type wanted, as an annotation of a dataclass gives it.
        value: What came.

    Raises:
        WireError: It is of another type, or a number beyond 64 bits.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else unpack(next(part for part in parts if part is not type(None)), value)
    if origin is tuple:
        return _unpack_tuple(parts, value)
    if origin is not None and issubclass(origin, Mapping):
        _want(isinstance(value, dict) and all(isinstance(part, str) for part in value.values()))
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _unpack_dataclass(kind, value)
    if kind is Fraction:
        return _unpack_fraction(value)
    if kind is Path:
        _want(isinstance(value, str))
        return Path(value)
    if kind is bytes:
        return _unpack_bytes(value)
    _want(type(value) is kind and kind in (int, str, bool) and (kind is not int or abs(value) <= _LARGEST_INT))
    return value


def _want(is_right: bool) -> None:
    if not is_right:
        raise WireError("another type than wanted")


def _unpack_tuple(parts: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    _want(isinstance(value, list))
    if len(parts) == 2 and parts[1] is Ellipsis:
        return tuple(unpack(parts[0], part) for part in value)
    _want(len(value) == len(parts))
    return tuple(unpack(part, one) for part, one in zip(parts, value, strict=True))


def _unpack_dataclass(kind: Any, value: Any) -> Any:
    fields = {f.name for f in dataclasses.fields(kind)}
    _want(isinstance(value, dict) and set(value) == fields)
    hints = typing.get_type_hints(kind)
    return kind(**{name: unpack(hints[name], part) for name, part in value.items()})


def _unpack_bytes(value: Any) -> bytes:
    _want(isinstance(value, str))
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise WireError("no bytes") from None


def _unpack_fraction(value: Any) -> Fraction:
    _want(isinstance(value, str) and len(value) < 100)
    top, _, bottom = value.partition("/")
    try:
        return Fraction(int(top), int(bottom))
    except (ValueError, ZeroDivisionError):
        raise WireError("no fraction") from None
