"""Facts about media files from an FFmpeg program, as a second opinion on what the package reads and writes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from starvsr.errors import OptionError


@dataclass(frozen=True)
class StreamFacts:
    """Units of one kind of stream: presentation times in seconds and one checksum each."""

    times: list[Fraction]
    checksums: list[str]
    size: tuple[int, int] | None = None


def frame_facts(path: Path) -> StreamFacts:
    """List the decoded frames of the first video stream: upright size, times, checksums."""
    return _facts(path, ["-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", "demux"])


def audio_facts(path: Path) -> StreamFacts:
    """List the packets of all audio streams, as they lie in the file; empty without audio."""
    return _facts(path, ["-map", "0:a?", "-vn", "-sn", "-dn", "-c", "copy"])


def same_times(before: list[Fraction], after: list[Fraction], tolerance: Fraction = Fraction(1, 1000)) -> bool:
    """Whether both lists have one length and equal times, within the tolerance (MKV and WebM store milliseconds)."""
    return len(before) == len(after) and all(abs(a - b) <= tolerance for a, b in zip(before, after, strict=True))


def from_first(times: list[Fraction]) -> list[Fraction]:
    """Count times from the first one."""
    return [time - times[0] for time in times] if times else []


def _facts(path: Path, choice: list[str]) -> StreamFacts:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise OptionError("the checks need imageio-ffmpeg: pip install 'starvsr[eval]'") from error
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(path)]
    told = subprocess.run([*command, *choice, "-copyts", "-f", "framecrc", "-"], capture_output=True, check=False)
    return parse_framecrc(told.stdout.decode())


def parse_framecrc(text: str) -> StreamFacts:
    """Read the output of FFmpeg's framecrc muxer."""
    bases: dict[str, Fraction] = {}
    size = None
    times, checksums = [], []
    for line in text.splitlines():
        if line.startswith("#tb "):
            stream, _, base = line[4:].partition(": ")
            bases[stream] = Fraction(base)
        elif line.startswith("#dimensions 0: "):
            width, _, height = line.split()[-1].partition("x")
            size = (int(width), int(height))
        elif line and not line.startswith("#"):
            cells = [cell.strip() for cell in line.split(",")]
            times.append(int(cells[2]) * bases[cells[0]])
            checksums.append(f"{cells[0]}:{cells[5]}")
    return StreamFacts(times, checksums, size)
