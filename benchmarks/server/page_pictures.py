"""The pictures of the page in the documentation, as a browser shows it.

    python -m benchmarks.server.page_pictures [--folder docs/images] [--dark] [--phone]

A server is started as users start it, a clip (that of `make demo`, unless ``--clip`` names another) is sent to it by
Chromium, a preview of two seconds is made, then the job is started and a picture of the window taken: ``page.jpg``,
with ``--dark`` also ``page_dark.jpg``, with ``--phone`` also ``page_phone.jpg``. Times on the pictures are those of
this machine as busy as it is: run it where nothing else is at work.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
_WIDE, _PHONE = (1100, 1100), (390, 844)
_PATIENCE_MS = 600_000


def main() -> int:
    """Take the pictures; 1 where there is no browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--phone", action="store_true")
    arguments = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("no Chromium on this machine (Debian: apt install chromium)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        clip = arguments.clip or _sample(Path(name))
        command = [sys.executable, "-m", "starvsr", "serve", "--port", "0", "--data", str(Path(name, "data"))]
        with subprocess.Popen(
            [*command, "--models", "star-small,bicubic"], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                _take(program, server.stdout.readline().split(": ")[0], clip, arguments)
            finally:
                server.terminate()
    return 0


def _sample(folder: Path) -> Path:
    clip = folder / "sample.mp4"
    subprocess.run([sys.executable, str(ROOT / "examples" / "make_sample_clip.py"), str(clip)], check=True)
    return clip


def _take(program: str, address: str, clip: Path, arguments: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(color_scheme="light").new_page()
        page.set_viewport_size({"width": _WIDE[0], "height": _WIDE[1]})
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        page.set_input_files("#source-file", str(clip))
        page.wait_for_selector("#preview-button:not([disabled])")
        page.select_option("#preview-amount", "seconds")
        page.click("#preview-button")
        page.wait_for_selector("starvsr-player:visible")
        for _ in range(300):  # wait_for_function would need eval, which the page forbids
            if page.evaluate("Boolean(document.querySelector('starvsr-player').source?.isReady)"):
                break
            page.wait_for_timeout(100)
        else:
            raise SystemExit(
                "error: the preview was not ready to be played within 30 s: try again on a quieter machine"
            )
        page.wait_for_selector("#start-button:not([disabled])")
        page.click("#start-button")
        page.wait_for_selector("ul.jobs > li[data-state=running] progress[value]")
        _save(page, arguments.folder / "page.jpg")
        if arguments.dark:
            page.emulate_media(color_scheme="dark")
            _save(page, arguments.folder / "page_dark.jpg")
            page.emulate_media(color_scheme="light")
        if arguments.phone:
            page.set_viewport_size({"width": _PHONE[0], "height": _PHONE[1]})
            _save(page, arguments.folder / "page_phone.jpg")
        browser.close()


def _save(page: Any, path: Path) -> None:
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the player draws anew where its size changed
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=88, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
