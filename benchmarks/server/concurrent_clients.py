"""Many clients at once: none lost, the queue's limit honoured, memory flat.

    python -m benchmarks.server.concurrent_clients [--clients 50] [--places 20] [--rounds 1] [--no-page]

A server is started as users start it, with fewer places in the queue than clients. Each client uploads a small clip,
waits as long as `Retry-After` says when it is refused, watches its job by polling, fetches the result and compares it
with the library's. Some clients send garbage, which must fail alone. Before, each loads the page with its scripts and
style sheets, as a browser would (``--no-page``: a server without it). Prints counts, times, and the server's memory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import psutil

import starvsr
from starvsr.video import VideoWriter

_GARBAGE_EVERY = 10


@dataclass
class Tally:
    """What clients met."""

    counts: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    most_waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        """Count something."""
        with self.lock:
            self.counts[what] += 1


def main() -> int:
    """Measure and print; 1 when a job was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", default="bicubic")
    parser.add_argument("--page", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return _measure(Path(name), arguments)


def _measure(folder: Path, arguments: argparse.Namespace) -> int:
    clip = _clip(folder / "clip.mp4")
    starvsr.upscale(clip, folder / "result.mp4", model=arguments.model, scale=2, threads=1, device="cpu")
    wanted = (folder / "result.mp4").read_bytes()
    places = ["--max-jobs", str(arguments.places), "--max-jobs-per-user", str(arguments.places)]
    command = [sys.executable, "-m", "starvsr", "serve", "--port", "0", "--data", str(folder / "data")]
    command += [] if arguments.page else ["--no-page"]
    command += [*places, "--devices", "cpu", "--threads", "1", "--models", arguments.model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split(": ")[0]
            memory = psutil.Process(process.pid)
            tally = Tally()
            if arguments.page:
                _load_page(address, tally)
            _do(address, clip.read_bytes(), wanted, tally, arguments.model)  # loads what is loaded once
            tally, peaks = Tally(), []
            for _ in range(arguments.rounds):
                peaks.append(_round(address, clip.read_bytes(), wanted, tally, arguments, memory))
        finally:
            process.terminate()
    return _tell(tally, peaks, arguments)


def _round(
    address: str, clip: bytes, wanted: bytes, tally: Tally, arguments: argparse.Namespace, memory: psutil.Process
) -> tuple[float, float]:
    """Let all clients go; return the server's resident memory in MB before, and the largest meanwhile."""
    before = peak = memory.memory_info().rss / 1e6

    def client(index: int) -> None:
        if arguments.page:
            _load_page(address, tally)
        content = clip if index % _GARBAGE_EVERY else np.random.default_rng(index).bytes(len(clip))
        _do(address, content, wanted if index % _GARBAGE_EVERY else None, tally, arguments.model)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(arguments.clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, memory.memory_info().rss / 1e6)
        waiting = _get(f"{address}/api/v1/server")["queue"]["waiting"]
        tally.most_waiting = max(tally.most_waiting, waiting)
        time.sleep(0.5)
    return before, peak


def _do(address: str, content: bytes, wanted: bytes | None, tally: Tally, model: str) -> None:
    """One client; with no result wanted its file is garbage."""
    began = time.monotonic()
    try:
        job = _submit(f"{address}/api/v1/jobs/file?name=clip.mp4&scale=2&model={model}", content, tally)
        place = f"{address}/api/v1/jobs/{job['id']}"
        while job["state"] in ("checking", "queued", "running"):
            time.sleep(1)
            job = _get(place)
        if wanted is None:
            tally.add("garbage refused" if job["state"] == "failed" else "garbage taken")
            return
        with urlopen(f"{place}/result", timeout=120) as answer:
            tally.add("right" if answer.read() == wanted else "wrong bytes")
        tally.waits.append(time.monotonic() - began)
    except (OSError, ValueError) as error:
        tally.add(f"lost: {error}")


def _load_page(address: str, tally: Tally) -> None:
    """Fetch the page and the scripts and style sheets that it names, as a browser with an empty cache does."""
    with urlopen(f"{address}/", timeout=120) as answer:
        text = answer.read().decode()
    found = re.findall(r"<(?:script|link)[^>]*\s(?:src|href)=\"(\.?/[^\"]*\.(?:js|css))[^\"]*\"", text)
    for name in found:
        with urlopen(f"{address}/{name.removeprefix('.').removeprefix('/')}", timeout=120) as answer:
            answer.read()
    tally.add("page loaded" if len(found) > 3 else "page without its files")


def _submit(url: str, content: bytes, tally: Tally) -> dict[str, Any]:
    while True:
        try:
            return _get(Request(url, content, {"Content-Type": "application/octet-stream"}))
        except HTTPError as error:
            if error.code != 429:
                raise
            tally.add("told to wait")
            time.sleep(int(error.headers["Retry-After"]))


def _get(request: str | Request) -> Any:
    with urlopen(request, timeout=120) as answer:
        return json.load(answer)


def _tell(tally: Tally, peaks: list[tuple[float, float]], arguments: argparse.Namespace) -> int:
    wrong = set(tally.counts) - {"right", "garbage refused", "told to wait", "page loaded"}
    for what, count in sorted(tally.counts.items()):
        print(f"{what:<20} {count}")
    print(f"{'most in the queue':<20} {tally.most_waiting} of {arguments.places} places")
    print(f"{'wait, s':<20} median {np.median(tally.waits):.1f}, longest {max(tally.waits):.1f}")
    for before, peak in peaks:
        print(f"{'server, MB':<20} {before:.0f} before, {peak:.0f} at most")
    return 1 if wrong or tally.most_waiting > arguments.places else 0


def _clip(path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    with VideoWriter(path, source=None, width=48, height=36, frame_rate=Fraction(10)) as writer:
        for index in range(8):
            writer.write(np.roll(frames, 3 * index, axis=1), index, 1)
    return path


if __name__ == "__main__":
    sys.exit(main())
