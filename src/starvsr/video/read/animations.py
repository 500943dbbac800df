"""How often an animation is played: GIF, APNG and WebP each count in their own way."""

from __future__ import annotations

from pathlib import Path

_BLOCK = b"\x21\xff\x0bNETSCAPE2.0\x03\x01"
_HEAD = 1 << 16


def num_plays(path: Path) -> int | None:
    """Read how often a GIF, APNG or animated WebP is played, 0 for ever; None where it does not say."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[:4] == b"GIF8":
        at = head.find(_BLOCK)
        if at < 0:
            return 1
        repeats = int.from_bytes(head[at + len(_BLOCK) :][:2], "little")
        return repeats + 1 if repeats else 0
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        at = head.find(b"acTL")
        return int.from_bytes(head[at + 8 : at + 12], "big") if at >= 0 else None
    if head[8:12] == b"WEBP":
        at = head.find(b"ANIM")
        return int.from_bytes(head[at + 12 : at + 14], "little") if at >= 0 else None
    return None
