"""What StableVSR's borders and shortcuts change: overlap of segments, tiles, number types, fewer guided steps.

    python -m benchmarks.quality.stablevsr_shortcuts [--weights FOLDER] [--frames 16] [--steps 8] [--write PAGE]
    python -m benchmarks.quality.stablevsr_shortcuts --weights FOLDER --guidance-decoder FOLDER

Without ``--weights`` the networks are tiny, with random weights: how fast a border's influence decays, and how much a
number type rounds, can be seen with them; how good pictures are, cannot. A moving photo of scikit-image is enlarged
as a whole and otherwise, with the same noise; differences are root mean squares over pixels, in percent of those
between two seeds of the whole clip. With ``--guidance-decoder`` there is a row for it, and one with gray pictures in
the place of the neighbours': what the guidance is worth to this model at all. The PSNR between the pictures of both
decoders in the course of sampling is printed beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.marked import replace_marked
from starvsr.engine.segments import Segment
from starvsr.families.job_settings import plain_settings
from starvsr.families.registry import get_entry
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.families.stablevsr.tiles import axes_of_tiles

MARKS = {
    name: (f"<!-- stablevsr {name}: begin -->", f"<!-- stablevsr {name}: end -->")
    for name in ("overlap", "options", "tiles")
}
OVERLAPS = (0, 1, 2, 4, 6, 8)
DISTANCES = (0, 1, 2, 4, 7)
SHORTCUTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`--texture-every 2`", {"texture_every": 2}),
    ("`--texture-every 3`", {"texture_every": 3}),
    ("`--texture-every 5`", {"texture_every": 5}),
    ("`--texture-start 0.2`", {"texture_start": 0.2}),
    ("`--texture-start 0.5`", {"texture_start": 0.5}),
    ("`--texture-end 0.5`", {"texture_end": 0.5}),
    ("`--texture-scale 0`", {"texture_scale": 0.0}),
)
TILED_SIZE = 64, 96
TILES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("decoder in strips", {"decoding_strips": True}),
    ("UNet and TCM in 2 tiles", {"tiles": (1, 2)}),
    ("UNet and TCM in 4 tiles", {"tiles": (2, 2)}),
)
"""What is cut, in frames of `TILED_SIZE` latent cells; tiles share 16 cells."""


def moving_photo(frames: int, height: int = 32, width: int = 48, step: int = 3) -> Tensor:
    """Return a clip [1, 3, T, H, W] in [-1, 1]: a window that moves over a photo, reduced by four."""
    from skimage import data

    photo = np.asarray(data.coffee())
    windows = [photo[40 + k : 40 + k + 4 * height, 20 + step * k : 20 + step * k + 4 * width] for k in range(frames)]
    large = torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).float()
    reduced = torch.nn.functional.avg_pool2d(large, 4)
    return (reduced / 127.5 - 1).transpose(0, 1)[None]


def enlarge(model: Any, lq: Tensor, steps: int, start: int = 0, seed: int = 0, **values: Any) -> Tensor:
    """Return the frames of a clip from ``start`` on, as one segment that begins there, [T, 3, 4H, 4W]."""
    job = dataclasses.replace(plain_settings(model, seed=seed, **values), num_steps=steps)
    part = lq[:, :, start:]
    whole = Segment(0, 0, part.shape[2], 0, part.shape[2])
    with model.open(job) as session:
        return torch.stack(list(session.upscale(part, slice(0, part.shape[2]), segment=whole, first_frame=start)))


class GrayPicture(nn.Module):
    """Stands in for a decoder and shows nothing: what a result owes to the neighbour's picture is gone with it."""

    def forward(self, latent: Tensor) -> Tensor:
        """Return gray [B, 3, 4h, 4w] for latents [B, C, h, w]."""
        count, _, height, width = latent.shape
        return latent.new_zeros(count, 3, 4 * height, 4 * width)


class BothDecoders(nn.Module):
    """A small decoder at work, beside which the model's own is asked how far apart their pictures are."""

    def __init__(self, small: nn.Module, own: nn.Module) -> None:
        super().__init__()
        self.small, self.own = small, own
        self.errors: list[tuple[float, float]] = []

    def forward(self, latent: Tensor) -> Tensor:
        """Return the small decoder's pictures."""
        picture: Tensor = self.small(latent)
        difference = picture - self.own(latent)
        varying = difference - difference.mean((2, 3), keepdim=True)
        self.errors.append((float(difference.square().mean()), float(varying.square().mean())))
        return picture

    def psnrs_db(self) -> tuple[float, float]:
        """Return the PSNR of all pictures together, and without the offset of each channel; values are in [-1, 1]."""
        whole, varying = (10 * math.log10(4 / (sum(each) / len(each))) for each in zip(*self.errors, strict=True))
        return whole, varying


def rms(one: Tensor, other: Tensor) -> float:
    """Return the root mean square difference."""
    return float((one - other).square().mean().sqrt())


def overlap_table(model: Any, lq: Tensor, steps: int, scales: Sequence[float], overlaps: Sequence[int]) -> list[str]:
    """Return a table: differences by overlap and by distance from the border."""
    border = lq.shape[2] // 2
    distances = [distance for distance in DISTANCES if distance < lq.shape[2] - border]
    head = " | ".join(f"frame {distance} after" for distance in distances)
    lines = [f"| weight of the TCM | overlap | {head} | all kept |", "|---" * (len(distances) + 3) + "|"]
    for scale in scales:
        whole = enlarge(model, lq, steps, texture_scale=scale)
        unit = rms(whole, enlarge(model, lq, steps, seed=1, texture_scale=scale))
        for overlap in (each for each in overlaps if each <= border):
            made = enlarge(model, lq, steps, start=border - overlap, texture_scale=scale)[overlap:]
            cells = [rms(made[d], whole[border + d]) / unit for d in distances]
            cells.append(rms(made, whole[border:]) / unit)
            lines.append(f"| {scale:g} | {overlap} | " + " | ".join(f"{100 * c:.3g} %" for c in cells) + " |")
            print(lines[-1], flush=True)
    return lines


def option_table(load: Callable[..., Any], lq: Tensor, steps: int, decoder: Path | None = None) -> list[str]:
    """Return a table: differences by number type, by small decoder and by shortcut, and guided steps left."""
    model = load()
    whole = enlarge(model, lq, steps)
    unit = rms(whole, enlarge(model, lq, steps, seed=1))
    lines = ["| option | difference | guided steps |", "|---|---|---|"]
    loaded: list[tuple[str, dict[str, Any]]] = [
        ("`--precision bf16`", {"precision": "bf16"}),
        ("`--precision int8`", {"precision": "int8"}),
    ]
    if decoder is not None:
        loaded.append(("`--guidance-decoder`", {"guidance_decoder": decoder}))
    for name, options in loaded:
        other = load(**options)
        if "guidance_decoder" in options:
            watched = BothDecoders(other._loaded.guide, other._loaded.decoder)
            object.__setattr__(other._loaded, "guide", watched)
        made = enlarge(other, lq, steps)
        lines.append(f"| {name} | {100 * rms(made, whole) / unit:.3g} % | {steps} of {steps} |")
        print(lines[-1], flush=True)
    if decoder is not None:
        whole_db, varying_db = watched.psnrs_db()
        print(f"both decoders' pictures: {whole_db:.1f} dB apart, {varying_db:.1f} without the offset of each channel")
        blind = load()
        object.__setattr__(blind._loaded, "guide", GrayPicture())
        difference = 100 * rms(enlarge(blind, lq, steps), whole) / unit
        lines.append(f"| gray in the place of each neighbour | {difference:.3g} % | {steps} of {steps} |")
        print(lines[-1], flush=True)
    for name, values in SHORTCUTS:
        made = enlarge(model, lq, steps, **values)
        guidance = model.pipeline(values).sampling.guidance
        guided = sum(guidance.scale_at(step, steps) != 0 for step in range(steps))
        lines.append(f"| {name} | {100 * rms(made, whole) / unit:.3g} % | {guided} of {steps} |")
        print(lines[-1], flush=True)
    return lines


def tile_table(model: Any, lq: Tensor, steps: int) -> list[str]:
    """Return a table: differences of plans with tiles, and how far lines at their borders stand out.

    A line's change is the root mean square of the step across it, relative to the same of the whole frame; the worst
    line near a border is told relative to the mean of the others.
    """
    whole = planned(model, lq, steps, StableVSRPlan())
    unit = rms(whole, planned(model, lq, steps, StableVSRPlan(), seed=1))
    lines = ["| cut | difference | worst line near a border |", "|---|---|---|"]
    for name, cut in TILES:
        plan = StableVSRPlan(tile_overlap=16, **cut)
        made = planned(model, lq, steps, plan)
        lines.append(f"| {name} | {100 * rms(made, whole) / unit:.3g} % | {worst_line(made, whole, plan):.3f} |")
        print(lines[-1], flush=True)
    return lines


def planned(model: Any, lq: Tensor, steps: int, plan: StableVSRPlan, seed: int = 0) -> Tensor:
    """Return the frames of a clip, made by a plan."""
    pipeline = model.pipeline()
    pipeline.memory.apply_plan(plan)
    return torch.stack(list(pipeline.upscale_frames(lq, slice(None), num_steps=steps, seed=seed)))


def worst_line(made: Tensor, whole: Tensor, plan: StableVSRPlan) -> float:
    """Return the change across the worst line where tiles begin, meet or end, by that of the lines elsewhere."""
    height, width = (side // 4 for side in made.shape[-2:])
    worst = 1.0
    for dim, windows in zip((2, 3), axes_of_tiles(height, width, plan), strict=True):
        edges = {4 * edge for w in windows for edge in (w.start, w.keep_start, w.stop)} - {0, made.shape[dim]}
        if not edges:
            continue
        others = [each for each in range(4) if each != dim]
        one, other = (frames.diff(dim=dim).square().mean(others).sqrt() for frames in (made, whole))
        near = torch.zeros(len(one), dtype=torch.bool)
        near[torch.tensor(sorted(edges)) - 1] = True
        worst = max(worst, float((one / other)[near].max() / (one / other)[~near].mean()))
    return worst


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--guidance-decoder", type=Path, help="of the model of --weights; two rows more")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tables", nargs="+", choices=list(MARKS), default=list(MARKS))
    parser.add_argument("--overlaps", type=int, nargs="+", default=list(OVERLAPS))
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0])
    parser.add_argument("--flow", default="dis")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.weights or import_module("tests.support.stablevsr_folder").write_folder(Path(scratch) / "tiny")

        def load(**options: Any) -> Any:
            return get_entry("stablevsr").load(weights=folder, flow=given.flow, **options)

        lq = moving_photo(given.frames)
        for name in given.tables:
            if name == "tiles":
                lines = tile_table(load(), moving_photo(max(2, given.frames // 4), *TILED_SIZE), given.steps)
            elif name == "overlap":
                lines = overlap_table(load(), lq, given.steps, given.scales, given.overlaps)
            else:
                lines = option_table(load, lq[:, :, : given.frames // 2], given.steps, given.guidance_decoder)
            text = "\n".join(lines)
            print(text, end="\n\n", flush=True)
            if given.write is not None:
                replace_marked(given.write, *MARKS[name], text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
