"""Upscale every clip of a folder with the command line and check what came out.

    python -m benchmarks.quality.acceptance_lq DIR [--out results/acceptance] [--clips TEXT] -- [flags of starvsr
            upscale]

Each clip goes through `starvsr upscale` in a process of its own. An FFmpeg program (not the package's own reader)
then compares input and output: number of frames, time of each frame, size (upright, times the scale), audio packets
byte by byte. Writes acceptance.json, acceptance.md and sheet.png (a detail of a middle frame beside bicubic).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality.contact_sheets import Row, detailed_window, enlarge_nearest, save_sheet, window
from benchmarks.quality.methods import SCALE, ByteArray, bicubic
from benchmarks.reliability.media_facts import audio_facts, frame_facts, from_first, same_times
from benchmarks.reliability.processes import STARVSR, watch
from starvsr.errors import StarVsrError
from starvsr.video import VideoReader
from starvsr.video.suffixes import VIDEO_SUFFIXES

SUFFIXES = VIDEO_SUFFIXES | {".264", ".h264", ".265", ".gif"}
CROP_WIDTH, CROP_HEIGHT = 320, 240


@dataclass(frozen=True)
class Acceptance:
    """One line of the table; a check is "ok" or tells what is wrong."""

    clip: str
    size: str
    frames: int
    seconds_per_frame: float
    peak_mb: float
    checks: dict[str, str]

    @property
    def is_ok(self) -> bool:
        """Whether every check passed."""
        return all(verdict.startswith("ok") for verdict in self.checks.values())


def main(arguments: list[str] | None = None) -> int:
    """Run all clips; returns 1 if a check failed."""
    options, flags = parse(sys.argv[1:] if arguments is None else arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    clips = sorted(p for p in options.folder.iterdir() if p.suffix.lower() in SUFFIXES and options.clips in p.name)
    results: list[Acceptance] = []
    rows: list[Row] = []
    for clip in clips:
        output = options.out / f"{clip.stem}_x{options.scale}{'.mp4' if clip.suffix in ('.mp4', '.mov') else '.mkv'}"
        result = accept(clip, output, [*flags, "--scale", str(options.scale)], options)
        print(_line(result), flush=True)
        results.append(result)
        if output.exists() and options.scale == SCALE:
            rows.append(_row(clip, output))
            save_sheet(rows, options.out / "sheet.png")
        _save(results, options.out)
    failed = [result.clip for result in results if not result.is_ok]
    print(f"{len(results) - len(failed)} of {len(results)} clips ok; table and sheet in {options.out}")
    return 1 if failed or not results else 0


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the arguments into this script's own and those behind `--`, which go to `starvsr upscale`."""
    own, flags = arguments, []
    if "--" in arguments:
        own, flags = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of clips")
    parser.add_argument("--out", type=Path, default=Path("results/acceptance"))
    parser.add_argument("--clips", default="", help="only clips whose name contains this")
    parser.add_argument("--scale", type=int, default=SCALE, help="1 checks the media path quickly, without a sheet")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(own), flags


def accept(clip: Path, output: Path, flags: list[str], options: argparse.Namespace) -> Acceptance:
    """Upscale one clip and check the result."""
    command = [*STARVSR, "upscale", str(clip), "-o", str(output), "--overwrite", *flags]
    run = watch(command, env=os.environ | {"OMP_NUM_THREADS": str(options.threads)})
    before = frame_facts(clip)
    frames, size = len(before.times), before.size or (0, 0)
    checks = {"exit": "ok" if run.returncode == 0 else f"{run.returncode}: {run.last_line}"}
    if run.returncode == 0:
        checks |= check_output(clip, output, options.scale)
    return Acceptance(
        clip.name, f"{size[0]}x{size[1]}", frames, run.seconds / max(frames, 1), run.peak_bytes / 1e6, checks
    )


def check_output(clip: Path, output: Path, scale: int = SCALE) -> dict[str, str]:
    """Compare input and output files."""
    before, after = frame_facts(clip), frame_facts(output)
    sound_before, sound_after = audio_facts(clip), audio_facts(output)
    wanted = tuple(scale * side for side in before.size or (0, 0))
    counts = f"{len(before.times)} -> {len(after.times)}"
    return {
        "frames": "ok" if len(before.times) == len(after.times) else counts,
        "times": _compare_times(before.times, after.times),
        "size": "ok" if after.size == wanted else f"{after.size} instead of {wanted}",
        "audio": _compare_audio(sound_before.checksums, sound_after.checksums),
    }


def _compare_times(before: list, after: list) -> str:
    if same_times(before, after):
        return "ok"
    if same_times(from_first(before), from_first(after)):
        return f"ok, all moved by {float(after[0] - before[0]):+.3f} s"
    pairs = zip(from_first(before), from_first(after), strict=False)
    return f"off by up to {float(max((abs(a - b) for a, b in pairs), default=0)):.3f} s"


def _compare_audio(before: list[str], after: list[str]) -> str:
    if before == after:
        return f"ok, {len(before)} packets" if before else "ok, none"
    return f"{len(before)} packets -> {len(after)}, {len(set(before) & set(after))} the same"


def _row(clip: Path, output: Path) -> Row:
    lq, hq = matching_frames(clip, output)
    if lq.shape[2] == 4:
        lq = lq[..., :3]
    plain = bicubic(lq[None])[0]
    left, top = detailed_window(plain, CROP_WIDTH, CROP_HEIGHT)
    pictures = {"input": enlarge_nearest(lq, SCALE), "bicubic": plain, "star-small": hq[..., :3]}
    return Row(clip.name, {name: window(p, left, top, CROP_WIDTH, CROP_HEIGHT) for name, p in pictures.items()})


def matching_frames(before: Path, after: Path) -> tuple[ByteArray, ByteArray]:
    """Read one frame of two videos of equal length as uint8 RGB: the middle one, or the last where no one knows.

    Containers differ in telling their length, so the number is the first one's.
    """
    lq, index = _frame(before, None)
    return lq, _frame(after, index)[0]


def _frame(path: Path, index: int | None) -> tuple[ByteArray, int]:
    with VideoReader(path, on_corrupt="skip") as reader:
        wanted = (reader.info.num_frames or sys.maxsize) // 2 if index is None else index
        for frame in reader:
            if frame.index >= wanted:
                break
    return (frame.pixels >> (frame.bit_depth - 8)).astype(np.uint8), frame.index


def _line(result: Acceptance) -> str:
    verdicts = "; ".join(f"{name} {verdict}" for name, verdict in result.checks.items())
    return (
        f"{'ok  ' if result.is_ok else 'FAIL'} {result.clip:42s} {result.size:>9s} {result.frames:4d} frames"
        f" {result.seconds_per_frame:6.2f} s/frame {result.peak_mb:6.0f} MB  {verdicts}"
    )


def _save(results: list[Acceptance], folder: Path) -> None:
    (folder / "acceptance.json").write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    names = ["exit", "frames", "times", "size", "audio"]
    lines = ["| clip | size | frames | s/frame | peak MB | " + " | ".join(names) + " |", "|" + " --- |" * 10]
    for r in results:
        cells = [r.clip, r.size, str(r.frames), f"{r.seconds_per_frame:.2f}", f"{r.peak_mb:.0f}"]
        lines.append("| " + " | ".join(cells + [r.checks.get(name, "-") for name in names]) + " |")
    (folder / "acceptance.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StarVsrError as error:
        sys.exit(f"error: {error}")
