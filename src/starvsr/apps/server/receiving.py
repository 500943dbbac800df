"""Bytes of an upload go from the network to the disk in pieces; none of them is kept in memory for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import ClientDisconnect

from starvsr.apps.server.errors import RefusedError, too_large

_PIECE = 1 << 20


class Receiver:
    """Writes bodies of requests to the ends of files, one request for each file at a time.

    Args:
        stall: Seconds without a byte after which a sender is given up.
    """

    def __init__(self, stall: float) -> None:
        self._stall = stall
        self._busy: set[Path] = set()

    async def append(self, path: Path, offset: int, size: int, body: AsyncIterator[bytes]) -> int:
        """Append a body to a file.

        Args:
            path: The file; made when it is not there.
            offset: Bytes that it has.
            size: Bytes that it will have in the end.
            body: The pieces.

        Returns:
            Bytes that it has now; what has come is kept when the sender goes away.

        Raises:
            RefusedError: Another request writes to it, more comes than was said, or nothing comes.
        """
        if path in self._busy:
            raise RefusedError(
                409, "upload_busy", "the piece was refused", "another request writes to this upload", "wait for its end"
            )
        self._busy.add(path)
        try:
            with await asyncio.to_thread(path.open, "ab") as file:
                pending = bytearray()
                try:
                    async for piece in self._pieces(body):
                        pending += piece
                        if offset + len(pending) > size:
                            pending.clear()
                            raise too_large("the upload", f"more bytes come than the {size} that were said")
                        if len(pending) >= _PIECE:
                            offset += len(pending)
                            await asyncio.to_thread(file.write, bytes(pending))
                            pending.clear()
                finally:
                    offset += len(pending)
                    file.write(pending)
        finally:
            self._busy.discard(path)
        return offset

    async def _pieces(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            try:
                yield await asyncio.wait_for(anext(body), self._stall)
            except StopAsyncIteration:
                return
            except ClientDisconnect:
                return
            except asyncio.TimeoutError:
                raise RefusedError(
                    408,
                    "too_slow",
                    "the upload was broken off",
                    f"no byte came for {self._stall:.0f} s",
                    "go on from the offset that HEAD tells; what came is kept",
                    {"Connection": "close"},
                ) from None
