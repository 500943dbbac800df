"""One server and one browser for all tests of the page; they are skipped where a browser is missing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server's packages are not installed (extra server)")
if find_spec("gradio") is None:  # not imported here, which takes 4 s
    pytest.skip("the page's packages are not installed (extra page)", allow_module_level=True)

from starvsr.apps.server.login import set_password
from tests.apps.server.page.driving import USERS, Browser, Site, film
from tests.support.chromium import started_chromium


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``film.mp4``, and the same as an AVI, which Chromium does not play."""
    folder = tmp_path_factory.mktemp("allowed") / "films"
    folder.mkdir()
    film(folder / "film.mp4")
    film(folder / "film.avi", codec="mpeg4", sound="mp2")
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
    pytest.importorskip("axe_playwright_python", reason="axe is not installed (extra dev)")
    with started_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(site: Site, chromium_browser: Any) -> Iterator[Browser]:
    """A tab in which ada is logged in."""
    context = chromium_browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    tab = Browser(site, context)
    tab.log_in("ada")
    yield tab
    context.close()
