"""Ten jobs on stand-ins for other processors: plans and journals must be equal, pixels may differ by rounding.

    python -m benchmarks.reliability.processors [--jobs cuts tiles ...] [--write docs/reliability.md]
    make test-processors    # five of the jobs, and the tests of TESTS on each stand-in

Each stand-in is a process of its own that is told to compute with another instruction set. Compared are the SHA-256 of
`plan.json` with `parts.json`, and of `journal`, of every job as they are just before the job folder is removed, the
names of the files and the times of all frames. Left out is what says which processor it was, or is a digest of encoded
pixels: `device` in the plan, the plan's checksum and its digest in the journal, and sizes, places and SHA-256 of
encoded data. Whether the encoded output was the same, too, is told beside it and decides nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.marked import replace_marked

STAND_INS: dict[str, dict[str, str]] = {
    "as it is": {},
    "no vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN up to AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}

JOBS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("shots.mkv", "out.mp4", {"model": "bicubic"}),
    "cuts": ("shots.mkv", "out.mkv", {"model": "star-small", "segment": 5}),
    "tiles": ("shots.mkv", "out.mp4", {"model": "star-small", "tile": 32, "scene_cuts": False, "duration": 1}),
    "crossfade": ("shots.mkv", "out.mkv", {"model": "bicubic", "segment": 6, "overlap": 2, "crossfade": 2}),
    "part": ("shots.mkv", "out.mkv", {"model": "bicubic", "start": "0.7", "duration": "1.13"}),
    "small scale": ("shots.mkv", "out.mp4", {"model": "star-small", "scale": 1.7, "duration": 1}),
    "memory": ("shots.mkv", "out.mkv", {"model": "star-small", "memory": "1GB", "duration": 1}),
    "images": ("images", "out_images", {"model": "bicubic"}),
    "vp9": ("shots.mkv", "out.webm", {"model": "bicubic", "duration": 1}),
    "lossless": ("images", "out.mkv", {"model": "star-small", "codec": "ffv1"}),
}
"""Input, output and options of each job."""

SHORT = ("cuts", "tiles", "crossfade", "part", "images")
"""The jobs of ``--short``."""

TESTS = (
    "tests/diffusion/test_schedules.py",
    "tests/diffusion/test_normal.py",
    "tests/parity/test_parity.py",
    "tests/video/test_scenes.py",
    "tests/engine/test_chunk_plan.py",
    "tests/engine/test_segments.py",
    "tests/offload/test_planning.py",
    "tests/families/star_i2vgen/test_planning.py",
    "tests/jobs/test_determinism.py",
)
"""What ``--tests`` runs on each stand-in. What takes longest is left to ``make test``."""

_LEFT_OUT = (
    *("unet_small_a", "unet_small_b", "sampler_unet_fast", "pipeline_small", "a_single_changed", "other_weights"),
    *("manifest_of_a_job_decides", "ran_out_of_memory_is_resumed"),  # whole jobs of several seconds each
    *("threads_change_no_byte", "in_any_order and not lost0", "free_memory_decides_without_a_budget"),
    *("p3_custom_timesteps", "p4_single_frame", "unit_train", "unit_models"),  # diffusers' networks
    "every_instruction_set",  # starts stand-ins of its own
)

_PIXELS = {"size", "sha256", "where", "moov_bytes", "comment", "digest"}
"""Entries of a journal that follow from encoded bytes, or from the name of the processor."""

BEGIN, END = "<!-- processors:begin -->", "<!-- processors:end -->"


def make_inputs(folder: Path) -> None:
    """Write a video of four shots and a folder of images."""
    from PIL import Image

    from starvsr.video.codec_pass import write_lossless

    rng = np.random.default_rng(11)
    frames = []
    for length in (17, 9, 23, 11):
        picture = rng.integers(0, 255, (40, 40, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        view = [picture[2 * k : 2 * k + 48, k : k + 64] for k in range(length)]
        frames += [np.clip(v + rng.normal(0, 3, v.shape), 0, 255).astype(np.uint8) for v in view]
    write_lossless(folder / "shots.mkv", np.stack(frames))
    (folder / "images").mkdir()
    for number, frame in enumerate(frames[10:22]):
        Image.fromarray(frame).save(folder / "images" / f"{number:04}.png")


def record_jobs(names: Sequence[str], inputs: Path, outputs: Path) -> dict[str, dict[str, str]]:
    """Do jobs in this process; return the digests of each by name of what they are of."""
    import starvsr
    from starvsr.jobs.folder import JobFolder

    seen: dict[str, bytes] = {}
    remove = JobFolder.remove

    def look_and_remove(self: JobFolder, lock: Any) -> bool:
        parts = self.part_plan.read_bytes() if self.part_plan.exists() else b""
        seen.update(plan=self.plan.read_bytes(), parts=parts, journal=self.journal.read_bytes())
        return remove(self, lock)

    JobFolder.remove = look_and_remove  # type: ignore[method-assign]
    try:
        found = {}
        for name in names:
            source, target, options = JOBS[name]
            out = outputs / name / target
            out.parent.mkdir()
            starvsr.upscale(inputs / source, out, threads=1, **options)
            found[name] = {
                "plan": _sha256(_without_processor(json.loads(seen["plan"]), str(outputs)) + seen["parts"].decode()),
                "journal": _sha256(_without_pixels(seen["journal"])),
                "files": _sha256(sorted(str(path.relative_to(outputs)) for path in out.parent.rglob("*"))),
                "times": _sha256(sorted(_times(out))),  # packets lie in an order that the encoder chooses
                "encoded": _sha256([_file(path) for path in sorted(out.parent.rglob("*")) if path.is_file()]),
            }
    finally:
        JobFolder.remove = remove  # type: ignore[method-assign]
    return found


def _without_processor(plan: dict[str, Any], folder: str) -> str:
    left_out = ("device", "checksum")  # the checksum covers the device, too
    kept = {name: value for name, value in plan.items() if name not in left_out}
    return json.dumps(kept, sort_keys=True).replace(folder, "")


def _without_pixels(journal: bytes) -> list[Any]:
    """Records of a journal, their checksums and what follows from pixels left out."""

    def kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: kept(entry) for name, entry in value.items() if name not in _PIXELS}
        return [kept(entry) for entry in value] if isinstance(value, list) else value

    return [kept(json.loads(line.split(b" ", 1)[1])) for line in journal.splitlines()]


def _times(out: Path) -> Iterator[tuple[str, str]]:
    if out.is_dir():
        return
    import av

    with av.open(str(out)) as container:
        for packet in container.demux(video=0):
            if packet.pts is not None:
                yield str(packet.pts * packet.time_base), str(packet.duration)


def _file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _environment(name: str) -> dict[str, str]:
    """One thread each: several run at a time."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | STAND_INS[name]


def run_stand_in(name: str, jobs: Sequence[str], inputs: Path, outputs: Path) -> dict[str, dict[str, str]]:
    """Do the jobs in a process that takes itself for another processor."""
    outputs.mkdir()
    command = [
        sys.executable,
        "-m",
        "benchmarks.reliability.processors",
        "--record",
        str(inputs),
        str(outputs),
        "--jobs",
        *jobs,
    ]
    done = subprocess.run(command, env=_environment(name), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_tests(name: str) -> tuple[str, int]:
    """Run the tests in a process that takes itself for another processor; return its summary and exit status."""
    chosen = " and ".join(f"not ({words})" for words in _LEFT_OUT)
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-k", chosen, *TESTS]
    done = subprocess.run(command, env=_environment(name), capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return "\n".join(lines[-40:] if done.returncode else lines[-1:]), done.returncode


def compare(results: Mapping[str, Mapping[str, Mapping[str, str]]]) -> tuple[str, int]:
    """Lay out what was equal in Markdown, and count the jobs of which something is not that must be."""
    names = list(next(iter(results.values())))
    lines = [
        "| job | SHA-256 of the plans | of the journal | file names, frame times | encoded output |",
        "|---|---|---|---|---|",
    ]
    failures = 0
    for job in names:
        cells, bad = [], False
        for kind in ("plan", "journal", "files", "times", "encoded"):
            digests = {result[job][kind] for result in results.values()}
            equal = len(digests) == 1
            bad |= not equal and kind != "encoded"
            shown = {"plan": digests, "journal": digests}.get(kind)
            word = f"`{min(digests)[:16]}`" if equal and shown else "equal" if equal else "differs"
            cells.append(word)
        failures += bad
        times = "equal" if cells[2] == cells[3] == "equal" else "differ"
        lines.append(f"| {job} | {cells[0]} | {cells[1]} | {times} | {cells[4]} |")
    return "\n".join(lines), failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write if asked to; 1 if something differs that must not."""
    parser = argparse.ArgumentParser(description="Plans and journals on stand-ins for other processors.")
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), metavar="JOB", default=list(JOBS))
    parser.add_argument("--short", action="store_true", help=f"only {', '.join(SHORT)}")
    parser.add_argument("--tests", action="store_true", help="also run the tests that must pass on every processor")
    parser.add_argument("--at-once", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--record", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    jobs = list(SHORT) if options.short else options.jobs
    if options.record:
        print(json.dumps(record_jobs(jobs, *options.record)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        with ThreadPoolExecutor(options.at_once) as pool:
            runs = {
                stand_in: pool.submit(run_stand_in, stand_in, jobs, folder, folder / f"out {number}")
                for number, stand_in in enumerate(STAND_INS)
            }
            tests = {stand_in: pool.submit(run_tests, stand_in) for stand_in in list(STAND_INS)[1:] if options.tests}
            text, failures = compare({stand_in: run.result() for stand_in, run in runs.items()})
            for stand_in, done in tests.items():
                told, status = done.result()
                print(f"{stand_in}: {told}")
                failures += status != 0
    head = f"{len(jobs)} jobs, each on {len(STAND_INS)} stand-ins ({', '.join(STAND_INS)}):"
    text = f"{head}\n\n{text}"
    print(text)
    if options.write:
        replace_marked(options.write, BEGIN, END, text)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
