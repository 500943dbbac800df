"""One server and one browser for all tests of the page; they are skipped where a browser is missing."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server's packages are not installed (extra server)")
pytest.importorskip("gradio", reason="the page's packages are not installed (extra page)")

from starvsr.apps.server.login import set_password
from tests.apps.server.page.driving import USERS, Browser, Site, browsers, chromium
from tests.video.clips import make_clip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``film.mp4``: 60 frames in shots of 10 with sound; each frame has its number as its brightness."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    shots = rng.integers(0, 60, (6, 12, 16, 3)).repeat(4, 1).repeat(4, 2).repeat(10, 0)
    frames = (shots + 3 * np.arange(60)[:, None, None, None]).astype(np.uint8)
    make_clip(folder / "film.mp4", frames, rate=Fraction(10), audio=["aac"], audio_seconds=6)
    return folder


@pytest.fixture(scope="module")
def site(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    for user in USERS:
        set_password(folder / "users", user, f"password of {user}")
    site = Site(folder, films, folder / "users")
    try:
        site.start()
        yield site
    finally:
        site.kill()


@pytest.fixture(scope="module")
def chromium_browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="Playwright is not installed (extra dev)")
    if chromium() is None:
        pytest.skip("no Chromium on this machine: the page is not driven (Debian: apt install chromium)")
    with browsers() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(site: Site, chromium_browser: Any) -> Iterator[Browser]:
    """A tab in which ada is logged in."""
    context = chromium_browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    tab = Browser(site, context)
    tab.log_in("ada")
    yield tab
    context.close()
