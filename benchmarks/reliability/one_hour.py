"""One hour of video through the whole pipeline but the network: memory, disk, and five kills on the way.

    python -m benchmarks.reliability.one_hour [--frames 86400] [--kills 5] [--out results/one_hour] [--write
            docs/reliability.md]

Makes a clip of small frames, runs it undisturbed and once more with SIGKILLs spread over it, each time in processes of
their own, and compares the outputs byte by byte. While they run, the resident memory of the process and the disk that
the job takes are sampled. The model is the identity: each frame comes out as it went in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

from benchmarks.reliability.torture import write_table
from starvsr.engine.clip_upscaler import ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.journal import read_journal
from starvsr.jobs.state import JobState
from starvsr.video import EncodeOptions, VideoWriter

WIDTH, HEIGHT, RATE = 64, 36, 24
BEGIN, END = "<!-- one hour:begin -->", "<!-- one hour:end -->"
SETTLED = 0.15  # share of the run after which memory is expected to stay where it is
MB = 2**20


@dataclass
class Watched:
    """What was seen of a run: (seconds, frames finished, resident bytes, bytes of disk) at each look.

    ``book_bytes`` are those of plans and journal at most, ``part_bytes`` those of the largest part.
    """

    samples: list[tuple[float, int, int, int]] = field(default_factory=list)
    book_bytes: int = 0
    part_bytes: int = 0
    seconds: float = 0.0
    frames_at_kills: list[int] = field(default_factory=list)
    parts_lost: int = 0


class Identity(ClipUpscaler):
    """A model that gives each frame back."""

    name = "identity"
    scale = 1
    traits = Traits(accepts=frozenset(), overlap=0, tile_overlap=0, fixed_bytes=0, bytes_per_pixel=100)

    def upscale_clip(self, lq, **_):  # type: ignore[no-untyped-def]
        """Return the clip [1, 3, T, H, W] itself."""
        return lq


def work(source: str, out: str) -> None:
    """Do the job in this process (called by name in a process of its own)."""
    import torch

    from starvsr import upscale

    torch.set_num_threads(1)
    result = upscale(source, out, upscaler=Identity(), scale=1, segment=48, preset="ultrafast")
    print(json.dumps({"frames": result.num_frames}))


def make_source(path: Path, num_frames: int) -> None:
    """Write the clip: a texture that drifts, another one every 20 seconds."""
    rng = np.random.default_rng(1)
    texture = rng.integers(0, 256, (60, 25, 40, 3), np.uint8).repeat(8, 1).repeat(8, 2)  # [60, 200, 320, 3]
    options = EncodeOptions(preset="ultrafast", crf=28)
    with VideoWriter(
        path, source=None, width=WIDTH, height=HEIGHT, options=options, frame_rate=Fraction(RATE)
    ) as writer:
        for index in range(num_frames):
            shot = texture[index // (20 * RATE) % len(texture)]
            y, x = index % (shot.shape[0] - HEIGHT), index // 2 % (shot.shape[1] - WIDTH)
            writer.write(np.ascontiguousarray(shot[y : y + HEIGHT, x : x + WIDTH]), index, 1)


def run(source: Path, out: Path, kill_at: list[int], every: float) -> Watched:
    """Run the job to its end, killed whenever so many frames are finished."""
    seen = Watched()
    began = time.monotonic()
    pending = sorted(kill_at)
    code = "import sys; from benchmarks.reliability.one_hour import work; work(*sys.argv[1:])"
    while True:
        kept = finished(out)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(source), str(out)], stdout=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                time.sleep(every if not is_joining(out) else every / 10)
                look(seen, process.pid, out, time.monotonic() - began)
                if pending and finished(out) >= pending[0]:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    seen.frames_at_kills.append(finished(out))
                    pending.pop(0)
                    break
            else:
                if process.returncode:
                    raise SystemExit(f"the job failed with {process.returncode}")
                seen.seconds = time.monotonic() - began
                return seen
        seen.parts_lost += finished(out) < kept


def finished(out: Path) -> int:
    """Return the frames in finished parts."""
    return JobState(read_journal(JobFolder(job_path(out)).journal)[0]).num_frames


def look(seen: Watched, pid: int, out: Path, seconds: float) -> None:
    """Take a sample."""
    try:
        resident = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return
    sizes = {file.name: size for file in job_path(out).glob("*") if (size := disk(file)) is not None}
    seen.samples.append((round(seconds, 1), finished(out), resident, sum(sizes.values())))
    seen.book_bytes = max(
        seen.book_bytes, sum(sizes.get(name, 0) for name in ("journal", "plan.json", "parts.json", "lock"))
    )
    parts = [size for name, size in sizes.items() if name.startswith("part_")]
    seen.part_bytes = max([seen.part_bytes, *parts])


def is_joining(out: Path) -> bool:
    """Whether parts are being joined."""
    return JobFolder(job_path(out)).joined.exists()


def disk(file: Path) -> int | None:
    """Return the bytes of a file without its holes; None when it was renamed or removed just now."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return min(stat.st_size, stat.st_blocks * 512)


def slope(samples: list[tuple[float, int, int, int]], num_frames: int) -> float:
    """Return the growth of memory in MB per 1000 frames: a line through the samples of the settled run."""
    settled = [(frames, rss) for _, frames, rss, _ in samples if SETTLED * num_frames <= frames < num_frames]
    frames, rss = np.array(settled, float).T
    return float(np.polyfit(frames, rss, 1)[0] * 1000 / MB)


def spread(samples: list[tuple[float, int, int, int]], count: int) -> list[tuple[float, int, int, int]]:
    """Return so many of the samples, evenly spread, the last one among them."""
    count = min(count, len(samples))
    return [samples[len(samples) * (i + 1) // count - 1] for i in range(count)]


def main(arguments: list[str] | None = None) -> int:
    """Make the clip, run it twice, print and write what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=86_400)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between samples (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("results/one_hour"))
    parser.add_argument("--write", type=Path, help="put the figures into this page")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="starvsr-hour-") as name:
        folder = Path(name)
        make_source(folder / "in.mp4", options.frames)
        plain = run(folder / "in.mp4", folder / "plain.mp4", [], options.every)
        kills = [options.frames * (i + 1) // (options.kills + 1) for i in range(options.kills)]
        killed = run(folder / "in.mp4", folder / "killed.mp4", kills, options.every)
        digests = [hashlib.sha256((folder / f"{n}.mp4").read_bytes()).hexdigest() for n in ("plain", "killed")]
        size = (folder / "plain.mp4").stat().st_size
    table = as_table(options.frames, plain, killed, size, digests[0] == digests[1])
    print(table)
    told = {"frames": options.frames, "output_bytes": size, "sha256": digests, "machine": machine()}
    told |= {"plain": asdict(plain), "killed": asdict(killed)}
    (options.out / "one_hour.json").write_text(json.dumps(told) + "\n")
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0 if digests[0] == digests[1] else 1


def machine() -> str:
    """Say what it ran on."""
    load = os.getloadavg()[2] if hasattr(os, "getloadavg") else 0.0
    return f"{os.cpu_count()} cores ({platform.machine()}), load average {load:.1f}"


def as_table(num_frames: int, plain: Watched, killed: Watched, size: int, equal: bool) -> str:
    """Write the figures as a table of Markdown."""
    rows: list[tuple[str, ...]] = [("", "undisturbed", f"killed {len(killed.frames_at_kills)} times")]
    runs = (plain, killed)
    peaks = [f"{max(s[2] for s in seen.samples) / MB:.0f} MB" for seen in runs]
    slopes = [f"{slope(plain.samples, num_frames):+.3f} MB per 1000 frames", "each process begins anew"]
    most = [max(s[3] for s in seen.samples) for seen in runs]
    disks = [f"{taken / MB:.2f} MB = {taken / size:.3f} x the output" for taken in most]
    beyond = [
        f"{max(0, taken - size) / 1024:.0f} KB (plan and journal {seen.book_bytes / 1024:.0f} KB, two parts "
        f"{2 * seen.part_bytes / 1024:.0f} KB)"
        for taken, seen in zip(most, runs, strict=True)
    ]
    rows += [
        ("---", "---", "---"),
        ("frames", str(num_frames), str(num_frames)),
        ("time", *(f"{seen.seconds / 60:.1f} min" for seen in runs)),
        ("peak memory", *peaks),
        ("growth of memory", *slopes),
        ("job folder at most, with the output in it", *disks),
        ("of it, beyond the output", *beyond),
        ("killed at frame", "-", ", ".join(map(str, killed.frames_at_kills))),
        ("finished parts lost", "0", str(killed.parts_lost)),
        ("output", f"{size / MB:.2f} MB", "same SHA-256" if equal else "OTHER BYTES"),
    ]
    making = [s for s in plain.samples if 0 < s[1] < num_frames]
    joining = [s for s in plain.samples if s[1] == num_frames]
    marks = [("made", s) for s in spread(making, 8)] + [("joined", s) for s in spread(joining, 5)]
    curve = [
        "",
        "Memory and job folder of the undisturbed run on its way:",
        "",
        "| seconds | frames done | being | memory | job folder |",
    ]
    curve += ["| --- | --- | --- | --- | --- |"]
    curve += [
        f"| {seconds:.0f} | {frames} | {what} | {rss / MB:.1f} MB | {taken / MB:.2f} MB |"
        for what, (seconds, frames, rss, taken) in marks
    ]
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*table, *curve, "", f"Machine: {machine()}."])


if __name__ == "__main__":
    sys.exit(main())
