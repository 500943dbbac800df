"""The player of a result beside what it is compared with: an HTML element, used by reports and by the server's page.

`player.js` defines the element ``<starvsr-player>``; its first lines tell how it is fed. It needs no other file than
`player.css`, and neither needs the network.
"""

from __future__ import annotations

from importlib.resources import files


def script() -> str:
    """Return the JavaScript that defines the element."""
    return _text("player.js")


def style() -> str:
    """Return its style sheet; colours follow the variables of the page, where it has them."""
    return _text("player.css")


def _text(name: str) -> str:
    return files("starvsr.evaluation.player").joinpath(name).read_text(encoding="utf-8").strip()
