"""Check that a change of the code changes no byte of what it makes.

    python -m benchmarks.reliability.equal_bytes record digests.json [--only WORD]     # before the change
    python -m benchmarks.reliability.equal_bytes compare digests.json [--only WORD]    # after it

Makes small inputs with the FFmpeg program of imageio-ffmpeg, sends them through `starvsr` in processes of their own,
and records the SHA-256 of every file that comes out: models, containers, codecs, bit depths, alpha, uneven times,
tiles, segments, scene cuts, interrupted jobs, tiny published networks with random weights, tiny training runs. Digests
hold for one machine and one set of library versions: encoders and kernels may differ elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
FFMPEG_TIME_LIMIT, RUN_TIME_LIMIT = 60, 600

Digests = dict[str, str]
Case = Callable[[Path, Path], None]
"""Makes outputs in an empty folder, the second one, out of the inputs in the first."""


def ffmpeg(*words: str, cwd: Path) -> None:
    """Run the FFmpeg program of imageio-ffmpeg."""
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-v", "error", "-y", *words]
    subprocess.run(command, cwd=cwd, check=True, timeout=FFMPEG_TIME_LIMIT)


def _picture(size: str = "64x48", rate: str = "12", seconds: float = 1.5) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def _tone(seconds: float = 1.5) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=440:r=44100:d={seconds}"]


_EXACT = ["-bitexact", "-fflags", "+bitexact", "-threads", "1"]
_H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", *_EXACT]


def make_inputs(folder: Path) -> None:
    """Write the inputs of all cases."""

    def make(*words: str) -> None:
        ffmpeg(*words, cwd=folder)

    make(*_picture(), *_H264, "plain.mp4")
    make(*_picture(), *_tone(), "-c:v", "libx264", "-c:a", "aac", *_EXACT, "sound.mp4")
    make(*_picture(), "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", *_EXACT, "ten.mkv")
    make(*_picture(), "-c:v", "libx264", "-pix_fmt", "yuv444p", "-color_range", "pc", *_EXACT, "full444.mp4")
    make(*_picture(), "-vf", "format=rgba,colorchannelmixer=aa=0.5", "-c:v", "png", *_EXACT, "alpha.mov")
    make(*_picture(), "-vf", "setpts=PTS+mod(N\\,3)*0.01/TB", "-fps_mode", "vfr", *_H264, "uneven.mkv")
    make(*_picture(), "-vf", "hue=h='if(gt(t,0.7),180,0)',negate=enable='gt(t,0.7)'", *_H264, "cut.mp4")
    make(*_picture(), "-vf", "format=gray", "-c:v", "ffv1", *_EXACT, "gray.mkv")
    make(*_picture(), "-vf", "interlace", "-flags", "+ilme+ildct", *_H264, "interlaced.mkv")
    make("-display_rotation", "90", "-i", "plain.mp4", "-c", "copy", *_EXACT, "rotated.mp4")
    make(*_picture(seconds=20), *_H264, "long.mkv")
    (folder / "subtitles.srt").write_text("1\n00:00:00,100 --> 00:00:01,000\none\n", encoding="utf-8")
    make("-i", "sound.mp4", "-i", "subtitles.srt", "-c", "copy", *_EXACT, "streams.mkv")
    (folder / "frames").mkdir(exist_ok=True)
    make(*_picture(seconds=0.5), *_EXACT, "frames/f_%03d.png")
    shutil.copy(folder / "frames" / "f_001.png", folder / "photo.png")


# name -> words of `starvsr upscale`, the output last
COMMANDS: dict[str, list[str]] = {
    "small, mp4": ["plain.mp4", "-o", "a.mp4"],
    "small, sound copied": ["sound.mp4", "-o", "a.mp4", "--crf", "20"],
    "small, 10 bits to FFV1": ["ten.mkv", "-o", "a.mkv", "--codec", "ffv1"],
    "small, 10 bits to H.265": ["ten.mkv", "-o", "a.mp4", "--codec", "h265"],
    "small, full range 4:4:4": ["full444.mp4", "-o", "a.mkv"],
    "small, alpha to ProRes": ["alpha.mov", "-o", "a.mov", "--codec", "prores"],
    "small, alpha to VP9": ["alpha.mov", "-o", "a.webm"],
    "small, uneven times": ["uneven.mkv", "-o", "a.mkv"],
    "small, tiles": ["plain.mp4", "-o", "a.mkv", "--tile", "32", "--tile-overlap", "8"],
    "small, segments": ["plain.mp4", "-o", "a.mkv", "--segment", "4", "--overlap", "2", "--crossfade", "2"],
    "small, scene cut": ["cut.mp4", "-o", "a.mp4"],
    "small, scene cut ignored": ["cut.mp4", "-o", "a.mp4", "--no-scene-cuts"],
    "small, twice": ["plain.mp4", "-o", "a.mp4", "--scale", "2"],
    "small, 1.5 times": ["plain.mp4", "-o", "a.mkv", "--scale", "1.5"],
    "small, part of it": ["sound.mp4", "-o", "a.mp4", "--start", "0.5", "--duration", "0.6"],
    "small, gray": ["gray.mkv", "-o", "a.mkv", "--codec", "ffv1"],
    "small, bf16": ["plain.mp4", "-o", "a.mkv", "--precision", "bf16"],
    "small, wavelet colour": ["plain.mp4", "-o", "a.mkv", "--color", "wavelet"],
    "small, images": ["frames", "-o", "out"],
    "small, pattern to video": ["frames/f_%03d.png", "-o", "a.mp4", "--frame-rate", "10"],
    "small, photo": ["photo.png", "-o", "a.png"],
    "small, compared": ["plain.mp4", "-o", "a.mp4", "--compare", "--duration", "0.5"],
    "bicubic, streams": ["streams.mkv", "-o", "a.mkv", "--model", "bicubic"],
    "bicubic, deinterlaced": ["interlaced.mkv", "-o", "a.mkv", "--model", "bicubic", "--deinterlace", "on"],
    "bicubic, rotated": ["rotated.mp4", "-o", "a.mp4", "--model", "bicubic"],
    "bicubic, isolated": ["sound.mp4", "-o", "a.mp4", "--model", "bicubic", "--isolate"],
}
# name -> settings of `starvsr.upscale` for a published network at tiny size
PUBLISHED: dict[str, dict[str, object]] = {
    "published": {"steps": 2, "seed": 3},
    "published, as released": {"exact": True, "padding": "minimal", "steps": 2, "seed": 666},
    "published, int8": {"steps": 1, "precision": "int8"},
    "published, prompts": {"steps": 2, "prompt": "a red barn", "guidance": 3.0, "guidance_pair": "together"},
    "published, segments": {"steps": 1, "segment": 3, "overlap": 1, "window": 3},
    "published, cached features": {"steps": 3, "feature_cache": 2, "step_list": "normal"},
}


def run(*words: str, cwd: Path) -> None:
    """Run a Python program of this checkout."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=RUN_TIME_LIMIT
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def digests_of(folder: Path) -> Digests:
    """SHA-256 of each file of a folder, by its name below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _command(words: list[str], inputs: Path, out: Path) -> None:
    source, flag, name, *rest = words
    run("-m", "starvsr", "upscale", str(inputs / source), flag, str(out / name), "--threads", "1", *rest, cwd=out)


def _interrupted(inputs: Path, out: Path) -> None:
    """Kill a job after its first part and go on with it."""
    words = ["upscale", str(inputs / "long.mkv"), "-o", str(out / "a.mkv"), "--scale", "2", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    journal = out / "a.mkv.job" / "journal"
    process = subprocess.Popen([sys.executable, "-m", "starvsr", *words], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (journal.exists() and journal.read_text().count('"part"') > 1):
        time.sleep(0.01)
    if process.poll() is not None:
        raise RuntimeError("the job ended before it could be killed: make it longer")
    process.send_signal(signal.SIGKILL)
    process.wait()
    run("-m", "starvsr", *words, cwd=out)


def _published(settings: dict[str, object], inputs: Path, out: Path) -> None:
    run("-m", "benchmarks.reliability.tiny_runs", "upscale", str(inputs), str(out), json.dumps(settings), cwd=ROOT)


def _training(kind: str, _inputs: Path, out: Path) -> None:
    run("-m", "benchmarks.reliability.tiny_runs", kind, str(out), cwd=ROOT)


def cases() -> dict[str, Case]:
    """Return each case as a function of the folder of inputs and an empty folder for outputs."""
    found: dict[str, Case] = {name: partial(_command, words) for name, words in COMMANDS.items()}
    found["small, killed and resumed"] = _interrupted
    found |= {name: partial(_published, settings) for name, settings in PUBLISHED.items()}
    return found | {kind: partial(_training, kind) for kind in ("train-small", "train-published")}


def measure(only: str = "") -> dict[str, Digests]:
    """Run the cases whose names hold ``only`` and return the digests of their outputs."""
    found: dict[str, Digests] = {}
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        for number, (case, make) in enumerate(cases().items()):
            if only not in case:
                continue
            out = Path(name) / f"out{number}"
            out.mkdir()
            make(inputs, out)
            found[case] = digests_of(out)
            print(f"{case}: {', '.join(f'{file} {digest[:12]}' for file, digest in found[case].items())}", flush=True)
            shutil.rmtree(out)
    return found


def differences(before: dict[str, Digests], now: dict[str, Digests]) -> list[str]:
    """Name the cases whose outputs are not as they were."""
    return [case for case, digests in now.items() if before.get(case) != digests]


def main() -> int:
    """Record or compare; the exit code is 1 when anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="only cases whose names hold this")
    arguments = parser.parse_args()
    now = measure(arguments.only)
    if arguments.what == "record":
        arguments.file.write_text(json.dumps(now, indent=1) + "\n")
        print(f"{len(now)} cases recorded")
        return 0
    changed = differences(json.loads(arguments.file.read_text()), now)
    for case in changed:
        print(f"changed: {case}")
    print(f"{len(now) - len(changed)} of {len(now)} cases equal")
    return 1 if changed or not now else 0


if __name__ == "__main__":
    sys.exit(main())
