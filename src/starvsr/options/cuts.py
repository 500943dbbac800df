"""How the video is cut in time and space to fit the memory."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError
from starvsr.options.info import CUTS, option


@dataclass(frozen=True)
class CutOptions:
    """How the video is cut in time and space to fit the memory."""

    segment: int | str = option(
        "auto",
        "Frames held in memory and upscaled together.",
        CUTS,
        "int",
        unit="frames",
        choices=("auto",),
        minimum=1,
        maximum=10_000,
    )
    overlap: int | None = option(
        None,
        "Frames of context that the network sees before and after each segment (default: the model's own).",
        CUTS,
        "int",
        unit="frames",
        minimum=0,
        maximum=1000,
    )
    crossfade: int | None = option(
        None,
        "Frames over which neighbouring segments are blended into each other; at most twice the overlap (default: the "
        "model's own).",
        CUTS,
        "int",
        unit="frames",
        minimum=0,
        maximum=2000,
    )
    scene_cuts: bool = option(True, "Never let a segment reach across a scene cut.", CUTS, "flag")
    tile: int | str = option(
        "auto",
        "Side of the square tiles the input is cut into, in input pixels; `off` for whole frames.",
        CUTS,
        "int",
        unit="px",
        choices=("auto", "off"),
        minimum=16,
        maximum=65_536,
    )
    tile_overlap: int | None = option(
        None,
        "Input pixels over which neighbouring tiles are blended (default: the model's own).",
        CUTS,
        "int",
        unit="px",
        minimum=0,
        maximum=1024,
    )
    memory: int | str = option(
        "auto",
        "Memory to stay below, as 800MB or 12GB (of the GPU where one computes); chooses segments and tiles.",
        CUTS,
        "size",
        choices=("auto",),
        minimum=1,
    )


def check_cuts(options: CutOptions) -> None:
    """Refuse overlaps that contradict what they lie between.

    Raises:
        OptionError: a cross-fade is longer than what both segments see, or tiles are all overlap.
    """
    if options.overlap is not None and options.crossfade is not None and options.crossfade > 2 * options.overlap:
        raise OptionError(
            f"--crossfade {options.crossfade} needs frames that both segments see: "
            f"give --overlap {-(-options.crossfade // 2)} or more"
        )
    if options.tile_overlap is None:
        return
    if options.tile == "off":
        raise OptionError("--tile-overlap has no meaning with --tile off: leave one of them out")
    if isinstance(options.tile, int) and 2 * options.tile_overlap >= options.tile:
        raise OptionError(
            f"--tile-overlap {options.tile_overlap} leaves nothing of a tile of {options.tile} px: "
            f"give less than {-(-options.tile // 2)}"
        )
