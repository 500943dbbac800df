"""What is written, and how."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.options.info import FILE, option


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and how."""

    codec: str | None = option(
        None,
        "Video encoder: h264, hevc, av1, vp9, prores, ffv1, mpeg4, mpeg2, or FFmpeg's name (h264_nvenc).",
        FILE,
        "text",
    )
    crf: int | None = option(
        None, "Quality of the encoder: lower is better and larger.", FILE, "int", minimum=0, maximum=63
    )
    preset: str | None = option(None, "Speed of the encoder, in its own words.", FILE, "text")
    pixel_format: str | None = option(None, "Pixel format of the output, as yuv420p10le.", FILE, "text")
    alpha: str = option(
        "keep",
        "Transparency of the input: keep it (refused where the output cannot hold it), or show it on black.",
        FILE,
        "text",
        choices=("keep", "drop"),
    )
    missing_streams: str = option(
        "note",
        "Sound or subtitles that the output's container cannot hold: leave them out and say so (note), code such sound"
        " anew as AAC, Opus (WebM), FLAC or ALAC (convert), or refuse (error). Text subtitles always become the"
        " container's own kind of text.",
        FILE,
        "text",
        choices=("note", "convert", "error"),
    )
    compare: bool = option(
        False, "Also write OUT_compare.png and OUT_compare.mp4: bicubic beside the result.", FILE, "flag"
    )
    overwrite: bool = option(False, "Replace an output that is already there.", FILE, "flag")
    restart: bool = option(
        False, "Start over where an interrupted job has left finished parts, rather than resume it.", FILE, "flag"
    )
