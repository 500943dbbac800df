"""A stand-in for the Hugging Face Hub on this machine: the few answers that downloads need, and its bad days."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from starvsr.models.weights.components import Component, HubFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandInHub:
    """What the server serves and how it behaves; tests change it while it runs."""

    files: dict[str, bytes | Path] = field(default_factory=dict)
    """Content by "org/repo/path"."""
    gated: set[str] = field(default_factory=set)
    token: str | None = None
    """When set, everything needs this token."""
    promise: dict[str, str] = field(default_factory=dict)
    """SHA-256 that the server claims for a file, if not the true one."""
    cut_after: int | None = None
    """Close the connection after so many bytes of a body ..."""
    cuts_left: int = 0
    """... so many times."""
    broken: int | None = None
    """Answer everything with this status."""
    ignore_ranges: bool = False
    seen: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    """Method, path, Range and Authorization of each request."""
    url: str = ""

    @property
    def sent(self) -> list[tuple[str, str | None]]:
        """Path and Range of each request for a body."""
        return [(path, bounds) for method, path, bounds, _ in self.seen if method == "GET"]


@contextmanager
def serve(hub: StandInHub) -> Iterator[StandInHub]:
    """Run the server inside the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(self.path.partition("?")[0]).strip("/")
            bounds, token = self.headers.get("Range"), self.headers.get("Authorization")
            hub.seen.append((self.command, path, bounds, token))
            if hub.broken is not None:
                return self._end(hub.broken)
            if path.startswith("cdn/"):
                return self._send(path.removeprefix("cdn/"), bounds, with_body=with_body)
            repo, _, rest = path.partition("/resolve/")
            _, _, name = rest.partition("/")
            if hub.token is not None and token != f"Bearer {hub.token}":
                return self._end(401, "RepoNotFound")
            if repo in hub.gated:
                return self._end(403, "GatedRepo")
            if not any(key.startswith(f"{repo}/") for key in hub.files):
                return self._end(401, "RepoNotFound")
            key = f"{repo}/{name}"
            if key not in hub.files:
                return self._end(404, "EntryNotFound")
            if name.endswith((".json", ".txt")):  # small files come straight from git
                return self._send(key, bounds, with_body=with_body)
            size, sha256 = facts(hub.files[key])
            self.send_response(302)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{hub.promise.get(key, sha256)}"')
            self.send_header("X-Linked-Size", str(size))
            self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{key}")  # another host
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, key: str, bounds: str | None, *, with_body: bool) -> None:
            size, sha256 = facts(hub.files[key])
            start = int(bounds.removeprefix("bytes=").partition("-")[0]) if bounds and not hub.ignore_ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{sha256[:40]}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(size - start))
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            if not with_body:
                return
            left = size
            if hub.cut_after is not None and hub.cuts_left > 0:
                hub.cuts_left -= 1
                left = hub.cut_after
                self.close_connection = True
            for block in blocks(hub.files[key], start):
                self.wfile.write(block[:left])
                left -= len(block)
                if left <= 0:
                    break

        def _end(self, status: int, code: str | None = None) -> None:
            self.send_response(status)
            if code is not None:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(hub: StandInHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `huggingface_hub` of this process fetch from the server into a cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def pinned(component: Component, files: Mapping[str, bytes | Path]) -> Component:
    """Return a component whose published sizes and digests are those of what is served."""

    def pin(file: HubFile) -> HubFile:
        content = files.get(f"{component.repos[0]}/{file.path}")
        return file if content is None or file.sha256 is None else HubFile(file.path, *facts(content))

    return replace(component, files=tuple(pin(file) for file in component.files), bytes=5_000_000)


_KNOWN: dict[Path, tuple[int, str]] = {}


def facts(content: bytes | Path) -> tuple[int, str]:
    """Return size and SHA-256 of what is served."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    if content not in _KNOWN:
        total = hashlib.sha256()
        for block in blocks(content, 0):
            total.update(block)
        _KNOWN[content] = (content.stat().st_size, total.hexdigest())
    return _KNOWN[content]


def blocks(content: bytes | Path, start: int) -> Iterator[bytes]:
    """Yield the content from a position on, piece by piece."""
    if isinstance(content, bytes):
        yield content[start:]
        return
    with content.open("rb") as file:
        file.seek(start)
        while block := file.read(1 << 20):
            yield block
