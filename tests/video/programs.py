"""FFmpeg's own program: inputs and judgements by another route than the code under test."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=1")


def ffmpeg(*words: str | Path) -> bytes:
    """Run the program; give what it prints."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, words)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def is_copied_by_ffmpeg(source: Path, out: Path) -> bool:
    """Whether the program's own copy of a file into another container succeeds."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(source), "-c", "copy", str(out)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def sound_encoders() -> list[str]:
    """List the encoders of sound that the program has."""
    listed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-encoders"], capture_output=True, text=True, check=True
    ).stdout
    return re.findall(r"^ A[.FSXBD]{5} ([a-z]\S*)", listed, re.MULTILINE)


def noise(seconds: float = 1, rate: int = 48000, channels: int = 1) -> tuple[str, ...]:
    """Give the words for an input of noise that is like itself nowhere."""
    tones = "|".join(f"(random({c})-0.5)*0.5" for c in range(channels))
    layout = {1: "mono", 2: "stereo", 6: "5.1(side)"}[channels]
    return ("-f", "lavfi", "-i", f"aevalsrc={tones}:s={rate}:d={seconds}:c={layout},lowpass=1500")


def heard(path: Path, rate: int = 48000) -> np.ndarray:
    """Decode the first sound as the program does: mono, from 0 on, silence where there is none."""
    filters = f"aresample={rate}:async=1:first_pts=0:min_hard_comp=0.0005"
    raw = ffmpeg("-copyts", "-i", path, "-map", "0:a:0", "-af", filters, "-ac", "1", "-f", "f32le", "-")
    return np.frombuffer(raw, np.float32)


def lag(one: np.ndarray, other: np.ndarray) -> tuple[int, float]:
    """Give by how many samples the second is earlier than the first, and how alike they are then (to 1)."""
    count = min(len(one), len(other))
    one, other = one[:count], other[:count]
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size))
    at = int(np.argmax(np.fft.irfft(spectrum, size)))
    at -= size if at > size // 2 else 0
    late, early = (one[at:], other[: count - at]) if at >= 0 else (one[:at], other[-at:])
    return at, float(np.corrcoef(late, early)[0, 1])


def cues(path: Path) -> list[tuple[int, int, str]]:
    """Give start and end in milliseconds and words of the first text, as the program turns it into SubRip."""
    text = ffmpeg("-i", path, "-map", "0:s:0", "-f", "srt", "-").decode()
    found = []
    for block in re.split(r"\n\n+", text.replace("\r", "").strip()):
        lines = block.split("\n")
        start, stop = (_milliseconds(time) for time in lines[1].split(" --> "))
        found.append((start, stop, "\n".join(lines[2:])))
    return found


def _milliseconds(time: str) -> int:
    hours, minutes, seconds = time.replace(",", ".").split(":")
    return round(1000 * (3600 * int(hours) + 60 * int(minutes) + float(seconds)))
