"""`starvsr degrade`: make a sharp clip look like an ordinary bad one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from starvsr.errors import OptionError, ResourceError
from starvsr.pipelines.quantities import format_size, parse_time

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from starvsr.video import VideoReader

_LIMIT = 2 * 2**30  # bytes of pixels; the chain works on whole clips in float32


@click.command(short_help="Make a sharp clip look like a bad one.")
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, metavar="OUT")
@click.option("--recipe", default="medium", show_default=True, metavar="light|medium|heavy|mixed", help="How bad.")
@click.option("--seed", default=0, show_default=True, help="Seed of every draw.")
@click.option("--scale", default=4, show_default=True, type=click.IntRange(1, 16), help="How many times smaller.")
@click.option("--start", metavar="TIME", help="Begin here: seconds or h:mm:ss.")
@click.option("--duration", metavar="TIME", help="Length: seconds or h:mm:ss.")
@click.option("--crf", default=12, show_default=True, type=click.IntRange(0, 51), help="Quality of the file.")
@click.option("--overwrite", is_flag=True, help="Replace an output that is already there.")
def degrade(
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
    """Degrade a sharp clip: blur, noise, reduction and compression, drawn once for the clip."""
    from starvsr.degradation.recipe import get_recipe
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
    click.echo(f"{out}: {len(times)} frames of {width}x{height}, recipe {recipe}, seed {seed}")


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
