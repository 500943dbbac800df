"""`starvsr degrade`: make sharp clips look like ordinary bad ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from starvsr.apps.cli.commands import ExampleCommand
from starvsr.apps.cli.terminal import echo, remark
from starvsr.errors import OptionError, OutputExistsError, ResourceError
from starvsr.quantities import format_size, parse_time

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from starvsr.data.building import SetOptions
    from starvsr.video import VideoReader

_LIMIT = 2 * 2**30  # bytes of pixels; the chain works on whole clips in float32


_EXAMPLES = (
    ("starvsr degrade sharp.mp4 -o bad.mp4 --preset heavy", "one clip"),
    ("starvsr degrade clips -o set --preset mixed --workers 4", "a training set: set/gt, set/lq, set/text"),
    ("starvsr degrade sharp.mp4 -o presets.png --sheet", "a picture of all presets"),
)


@click.command(
    cls=ExampleCommand,
    examples=_EXAMPLES,
    short_help="Make sharp clips look like bad ones, one clip or a whole training set.",
)
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, metavar="OUT")
@click.option(
    "--preset",
    "--recipe",
    "preset",
    default="medium",
    show_default=True,
    metavar="PRESET",
    help="How bad: light, medium, heavy, video-web, old-film, codec, clean, mild, sharpened, aliased, interlaced; "
    "mixed, wide, everyday, footage; or a mix of these such as 'light:2, heavy:1'.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of every draw.")
@click.option("--scale", default=4, show_default=True, type=click.IntRange(1, 16), help="How many times smaller.")
@click.option("--start", metavar="TIME", help="One clip: begin here, in seconds or h:mm:ss.")
@click.option("--duration", metavar="TIME", help="One clip: length, in seconds or h:mm:ss.")
@click.option("--crf", default=12, show_default=True, type=click.IntRange(0, 51), help="One clip: quality of the file.")
@click.option("-y", "--overwrite", is_flag=True, help="One clip: replace an output that is already there.")
@click.option("--sheet", is_flag=True, help="Write a picture of all presets on INPUT to OUT instead.")
@click.option(
    "--chain",
    type=click.Choice(["clip", "released"]),
    default="clip",
    show_default=True,
    help="A set: drawn per clip, or STAR's script (drawn per frame, with its quirks).",
)
@click.option(
    "--width-bug/--no-width-bug",
    default=True,
    show_default=True,
    help="Released chain: leave the width out of the second resize, as the script does.",
)
@click.option(
    "--sharpen-gt/--no-sharpen-gt",
    default=True,
    show_default=True,
    help="Released chain: sharpen the ground truth, as the script does.",
)
@click.option(
    "--frames", default=32, show_default=True, type=click.IntRange(0), help="A set: frames of each pair; 0: all."
)
@click.option("--step", default=1, show_default=True, type=click.IntRange(1), help="A set: take every so many frames.")
@click.option("--clips", default=1, show_default=True, type=click.IntRange(1), help="A set: pairs of each video.")
@click.option("--max-size", default="1280x720", show_default=True, metavar="WxH", help="A set: largest ground truth.")
@click.option(
    "--storage",
    type=click.Choice(["lossless", "near-lossless"]),
    default="lossless",
    show_default=True,
    help="A set: FFV1, or H.264 at CRF 8.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="A set: processes.")
def degrade(
    source: str,
    out: Path,
    preset: str,
    seed: int,
    scale: int,
    start: str | None,
    duration: str | None,
    crf: int,
    overwrite: bool,
    sheet: bool,
    chain: Literal["clip", "released"],
    width_bug: bool,
    sharpen_gt: bool,
    frames: int,
    step: int,
    clips: int,
    max_size: str,
    storage: Literal["lossless", "near-lossless"],
    workers: int,
) -> None:
    """Degrade a sharp clip, or build a training set out of a folder or CSV of sharp clips.

    A folder or a CSV (columns path, text) becomes OUT/gt, OUT/lq and OUT/text. The same command goes on with a set
    that was interrupted; the number of processes changes nothing.
    """
    if sheet:
        _write_sheet(source, out, seed, scale, overwrite)
    elif Path(source).is_dir() or source.lower().endswith(".csv"):
        from starvsr.data.building import SetOptions

        options = SetOptions(
            preset=preset,
            chain=chain,
            width_bug=width_bug,
            sharpen_gt=sharpen_gt,
            seed=seed,
            scale=scale,
            num_frames=frames,
            step=step,
            clips_per_video=clips,
            max_size=_size(max_size),
            storage=storage,
        )
        _build_set(Path(source), out, options, workers)
    elif chain == "released":
        raise OptionError("--chain released makes sets: give a folder or a CSV instead of one clip")
    else:
        _degrade_one(source, out, preset, seed, scale, start, duration, crf, overwrite)


def _build_set(source: Path, out: Path, options: SetOptions, workers: int) -> None:
    from starvsr.data.building import build_set, find_sources, plan_set

    tasks = plan_set(find_sources(source, lambda note: remark(f"note: {note}")), out, options)
    made = build_set(tasks, workers=workers, on_done=lambda task, outcome: echo(f"{task.name}: {outcome}"))
    echo(f"{out}: {made} of {len(tasks)} pairs made now, {options.chain} chain, seed {options.seed}")


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.UsageError(f"--max-size {text!r} must read WIDTHxHEIGHT, for example 1280x720") from None
    return width, height


def _write_sheet(source: str, out: Path, seed: int, scale: int, overwrite: bool) -> None:
    from starvsr.data.paired import center_crop
    from starvsr.degradation.presets import PRESETS
    from starvsr.degradation.ranges import DegradationRecipe
    from starvsr.degradation.sheets import draw_sheet
    from starvsr.video.codec_pass import read_clip

    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} is there already: give another name, or --overwrite")
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise OptionError(f"{out}: a sheet is a picture; give a name that ends in .png, .jpg or .webp")
    names = [name for name, recipe in PRESETS.items() if isinstance(recipe, DegradationRecipe)]
    draw_sheet(center_crop(read_clip(source, num_frames=9), (320, 240), scale), out, names, seed=seed, scale=scale)
    echo(f"{out}: {', '.join(names)}, three draws each")


def _degrade_one(
    source: str,
    out: Path,
    recipe: str,
    seed: int,
    scale: int,
    start: str | None,
    duration: str | None,
    crf: int,
    overwrite: bool,
) -> None:
    """Degrade one clip into one file."""
    from starvsr.degradation.presets import get_recipe
    from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe

    get_recipe(recipe)
    info = probe(source)
    with VideoReader(info.path, start=_seconds(start), duration=_seconds(duration), info=info) as reader:
        width, height = info.width // scale, info.height // scale
        if not (width and height):
            raise OptionError(f"{info.width}x{info.height} cannot become {scale} times smaller: give a smaller --scale")
        with VideoWriter(
            out,
            source=info,
            width=width,
            height=height,
            options=EncodeOptions(crf=crf),
            time_range=reader.time_range,
            overwrite=overwrite,
            alpha=False,
            bit_depth=8,
        ) as writer:
            times, pixels = _read_all(reader)
            for frame, (pts, ticks) in zip(_degraded(pixels, recipe, seed, scale), times, strict=True):
                writer.write(frame, pts, ticks)
    echo(f"{out}: {len(times)} frames of {width}x{height}, recipe {recipe}, seed {seed}")


def _seconds(text: str | None) -> Fraction | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r}: {error}") from None


def _read_all(reader: VideoReader) -> tuple[list[tuple[int, int]], NDArray[np.uint8]]:
    """Return (time, length) of each frame in ticks, and all frames, uint8 [T, H, W, 3]."""
    import numpy as np

    times: list[tuple[int, int]] = []
    frames: list[NDArray[np.uint8]] = []
    size = 0
    for frame in reader:
        rgb = (frame.pixels[:, :, :3] // (1 if frame.pixels.dtype == np.uint8 else 257)).astype(np.uint8)
        size += 6 * 4 * rgb.size
        if size > _LIMIT:
            raise ResourceError(
                f"the clip is too long to degrade in one piece ({len(frames)} frames fit {format_size(_LIMIT)}): "
                "give --start and --duration"
            )
        frames.append(rgb)
        times.append((frame.pts, frame.duration))
    return times, np.stack(frames)


def _degraded(pixels: NDArray[np.uint8], recipe: str, seed: int, scale: int) -> NDArray[np.uint8]:
    """Degrade uint8 [T, H, W, 3] to uint8 [T, H // scale, W // scale, 3]."""
    import numpy as np

    from starvsr.degradation.recipe import degrade_clip

    lq = degrade_clip(pixels.transpose(0, 3, 1, 2), recipe, np.random.default_rng(seed), scale)
    return (lq.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
