"""A server as users start it and a browser that looks at its page; both start once for all tests of the page."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tests.apps.server.running import until
from tests.video.clips import make_clip

PATIENCE_MS = 240_000
USERS = ("ada", "bob")


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
        if message.type == "error":
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

    def numbers(self) -> list[int]:
        """The numbers of the frames that the player shows, one for each side, as `film` draws them."""
        found: list[int] = self.page.evaluate(
            """() => { const player = document.querySelector("starvsr-player"), canvas = player.canvas;
            const context = canvas.getContext("2d", { willReadFrequently: true });
            return player.panes(canvas.width, canvas.height).map(([, x, y, width, height]) => {
              const at = (place) => [x + ((place + 0.5) * width) / 8, y + height / 8];
              const bit = (place) => context.getImageData(...at(place), 1, 1).data[1] > 128;
              return [0, 1, 2, 3, 4, 5, 6, 7].reduce((sum, place) => sum + (bit(place) ? 2 ** place : 0), 0); }); }"""
        )
        return found


def film(path: Path, codec: str = "libx264", sound: str = "aac") -> Path:
    """60 frames in shots of 10, with sound; in the upper part of each the bits of its number, as black and white."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 12, 16, 3)).repeat(4, 1).repeat(4, 2).repeat(10, 0)
    bits = (np.arange(60)[:, None] >> np.arange(8)) & 1
    frames[:, :24] = np.where(bits.repeat(8, 1)[:, None, :, None], 235, 16)
    return make_clip(path, frames.astype(np.uint8), rate=Fraction(10), codec=codec, audio=[sound], audio_seconds=6)
