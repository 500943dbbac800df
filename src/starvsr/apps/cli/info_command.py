"""`starvsr info`: what is known about an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from starvsr.apps.cli.flags import GroupedCommand, GroupedOption, input_flags, options_of
from starvsr.apps.cli.terminal import echo, json_text

if TYPE_CHECKING:
    from starvsr.video import VideoInfo


_EXAMPLES = (
    ("starvsr info clip.mp4", ""),
    ("starvsr info frames/f_%05d.png --frame-rate 30", ""),
    ("starvsr info clip.mp4 --json", "for programs"),
)


@click.command(cls=GroupedCommand, examples=_EXAMPLES, short_help="Show what a file holds.")
@click.argument("path", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, cls=GroupedOption, group="Output", help="Print JSON.")
@input_flags
def info(path: str, as_json: bool, **flags: Any) -> None:
    """Show what a video, an image or a folder of images holds."""
    options = options_of(flags)
    from starvsr.jobs.inputs import probe_input

    found = probe_input(path, options)
    if as_json:
        click.echo(json_text(found.as_dict()))
        return
    for name, value in facts(found):
        echo(f"{name + ':':<12} {value}")


def facts(info: VideoInfo) -> list[tuple[str, str]]:
    """List what is known about an input, as names and words."""
    from starvsr.quantities import format_time

    frames = info.num_frames if info.num_frames is not None else info.estimated_frames
    about = "" if info.num_frames is not None else "about "
    rate = info.frame_rate
    rate_words = f"{float(rate):g}" if rate.denominator == 1 else f"{float(rate):.3f} ({rate})"
    length = "" if info.duration is None else f", {format_time(info.duration)}"
    rows = [
        ("file", str(info.path)),
        ("kind", f"{info.kind} ({info.container}, {info.codec})"),
        ("size", f"{info.width}x{info.height}{_shape(info)}{_other_size(info)}"),
        ("frames", f"{'number unknown' if frames is None else f'{about}{frames}'} at {rate_words} frames/s{length}"),
        ("pixels", f"{info.pixel_format}, {info.bit_depth} bits, {info.color.describe()}{_extras(info)}"),
    ]
    if info.photo.profile:
        rows.append(("profile", info.photo.profile_name))
    for stream in info.streams:
        if stream.kind != "video":
            words = [stream.kind, stream.codec, stream.detail, stream.language or "", stream.title or ""]
            rows.append((f"stream {stream.index}", ", ".join(word for word in words if word)))
    if info.chapters:
        rows.append(("chapters", str(len(info.chapters))))
    rows += [("note", note) for note in info.notes]
    return rows


def _shape(info: VideoInfo) -> str:
    turned = f", turned by {info.rotation} degrees" if info.rotation else ""
    stretched = f", pixels {info.sample_aspect_ratio}" if info.sample_aspect_ratio not in (0, 1) else ""
    return turned + stretched


def _other_size(info: VideoInfo) -> str:
    if info.other_size is None:
        return ""
    index, width, height = info.other_size
    return f", but {info.files[index].name} is {width}x{height}"


def _extras(info: VideoInfo) -> str:
    alpha = ", with transparency" if info.has_alpha else ""
    interlaced = f", interlaced ({info.field_order} first)" if info.field_order in ("top", "bottom") else ""
    interlaced = interlaced or (", interlaced" if info.interlaced else "")
    return alpha + interlaced
