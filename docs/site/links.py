"""Links that lead out of the site: https, and to hosts that somebody looked at. A hook of MkDocs; asks no network.

A strict build fails by a link to a host that is not listed: look at where it leads, and add its host here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
HOSTS = {
    "arxiv.org": "papers",
    "download.pytorch.org": "wheels of PyTorch",
    "github.com": "repositories of methods and programs",
    "keepachangelog.com": "form of the changelog",
    "pypi.org": "packages",
    "semver.org": "meaning of version numbers",
}
"""Hosts that pages may link to, and what for."""
_EXAMPLES = ("127.0.0.1", "localhost", "example.org")
"""Addresses that stand for the reader's own."""
_ADDRESS = re.compile(r"(?<![\w.])(?:https?|ftp)://[^\s<>\"'`)\]|}]+", re.I)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
_LOG = logging.getLogger("mkdocs.hooks.links")


def on_pre_build(config: Any) -> None:
    """Look at the README, which is no page of the site."""
    _warn("README.md", (ROOT / "README.md").read_text(encoding="utf-8"))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> None:
    """Look at a page."""
    _warn(page.file.src_uri, markdown)


def _warn(page: str, text: str) -> None:
    for told in wrong_links(text):
        _LOG.warning("%s: %s", page, told)


def wrong_links(text: str) -> Iterator[str]:
    """Yield a sentence for each address outside blocks of code that is not as it should be."""
    for found in _ADDRESS.findall(_FENCE.sub("", text)):
        link = found.rstrip(".,;:!?*")
        parts = urlsplit(link)
        host = (parts.hostname or "").lower()
        if host in _EXAMPLES or host.endswith(".example.org"):
            continue
        if parts.scheme.lower() != "https":
            yield f"{link}: use https"
        elif host not in HOSTS:
            yield f"{link}: the host is not among those of docs/site/links.py; look at it, and add it there"
        elif parts.username or parts.port:
            yield f"{link}: an address with a user or a port"
