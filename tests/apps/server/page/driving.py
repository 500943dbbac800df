"""A server as users start it and a browser that looks at its page; both start once for all tests of the page."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.apps.server.running import until

PATIENCE_MS = 240_000
USERS = ("ada", "bob")


def chromium() -> str | None:
    """Where the system's Chromium is, if it has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Site:
    """A server that can be killed and started again on the same folder and port."""

    def __init__(self, folder: Path, films: Path, users: Path) -> None:
        self.data, self._films, self._users = folder / "data", films, users
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "starvsr", "serve", "--port", str(self.port), "--data", str(self.data)]
        command += ["--folder", str(self._films), "--password-file", str(self._users), "--threads", "1"]
        command += ["--devices", "cpu", "--models", "star-small,bicubic", "--max-upload", "300000"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.port = int(line.split(": ")[0].rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill the server with all its processes at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def client(self, user: str) -> httpx2.Client:
        client = httpx2.Client(base_url=self.address, timeout=60)
        token = client.post("/api/v1/login", json={"name": user, "password": f"password of {user}"}).json()["token"]
        client.headers["authorization"] = f"Bearer {token}"
        return client


class Browser:
    """A tab, and what it complained of."""

    def __init__(self, site: Site, context: Any) -> None:
        self.site, self.context = site, context
        self.page: Any = context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", self._see)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _see(self, request: Any) -> None:
        if not request.url.startswith((self.site.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def open(self) -> None:
        self.page.goto(self.site.address, timeout=PATIENCE_MS)

    def ready(self) -> None:
        self.page.wait_for_selector("html[data-ready]", timeout=PATIENCE_MS)

    def log_in(self, user: str) -> None:
        self.open()
        self.page.fill("#name", user)
        self.page.fill("#password", f"password of {user}")
        self.page.press("#password", "Enter")
        self.ready()

    def choose(self, file: Path) -> None:
        self.page.set_input_files("#source-file", str(file))

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def set(self, name: str, value: str) -> None:
        """Fill a control in, as a user does."""
        field = self.page.locator(f"#field-{name} input:not([type=range]), #field-{name} textarea").first
        field.fill(value)
        field.press("Tab")

    def job(self, index: int = 0) -> Any:
        """The card of a job, newest first."""
        return self.page.locator("ul.jobs > li").nth(index)

    def job_is(self, *states: str, index: int = 0) -> Any:
        card = self.job(index)
        wanted = (*states, "failed") if "failed" not in states else states
        until(lambda: card.count() and card.get_attribute("data-state") in wanted, PATIENCE_MS / 1000)
        assert card.get_attribute("data-state") in states, card.inner_text()
        return card

    def picture(self) -> Any:
        """Mean colour of the left and the right half of what the player shows."""
        return self.page.evaluate(
            """() => { const c = document.querySelector("starvsr-player canvas"), x = c.getContext("2d");
            const mean = (from) => { const d = x.getImageData(from, 0, c.width / 2, c.height).data, sum = [0, 0, 0];
              for (let i = 0; i < d.length; i++) if (i % 4 < 3) sum[i % 4] += d[i];
              return sum.map((s) => (4 * s) / d.length); };
            return [mean(0), mean(Math.floor(c.width / 2))]; }"""
        )


@contextlib.contextmanager
def browsers() -> Iterator[Any]:
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
