"""Measure what the TCM and the two directions of sampling do, on clips with a ground truth.

    python -m benchmarks.quality.stablevsr_ablation --weights runs/stablevsr-tiny/stablevsr --hq VAL_VIDEOS

Each clip's middle part is degraded with a fixed seed and enlarged in three ways from the same noise: without TCM, with
the TCM in one direction (every step goes forwards), and in both as published. The table shows PSNR, warping error and
tOF as means over clips, with 95 % intervals of the mean from resampled clips, and the same of the differences to the
first row, clip by clip. Flow is OpenCV's DIS in sampling and in measuring. The last row is the ground truth itself.

With ``--guidance-decoder FOLDER`` a fourth way is that in both directions whose neighbours are decoded by a small
decoder, as ``starvsr upscale --guidance-decoder`` does. Its row is compared with the model's own decoder, and the PSNR
between the results of both tells how far apart they are.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.data.folders import list_clips
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.presets import get_recipe
from starvsr.degradation.recipe import degrade_clip
from starvsr.diffusion.ddpm import DDPM
from starvsr.diffusion.noise import FrameNoise
from starvsr.families.registry import get_spec
from starvsr.families.stablevsr.configuration import read_scheduler
from starvsr.families.stablevsr.diffusers_parts import load_network
from starvsr.families.stablevsr.guidance_decoder import decoder_files, describe_decoder, load_decoder
from starvsr.families.stablevsr.load import encode_text
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.sampling import Flows, Guidance, sample, to_pixels
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.metrics.evaluate import measure
from starvsr.metrics.metric import ByteArray, mean
from starvsr.models.flow.dis import DisFlow
from starvsr.models.weights.locate import find_model
from starvsr.video.codec_pass import read_clip
from starvsr.video.pixels import from_unit, to_unit

METRICS = ("psnr_y_db", "warping_error_x1e3", "tof_x10")
SCALE = 4
RESAMPLES = 10_000


class SmallDecoderNetworks(DiffusersNetworks):
    """Networks whose clean estimates are decoded by the small decoder."""

    def decode(self, latent: Tensor) -> Tensor:
        """Return the picture of a clean latent; see `starvsr.families.stablevsr.sampling.Networks`."""
        assert self.guidance_decoder is not None
        picture: Tensor = self.guidance_decoder(latent)
        return picture


class Sampler:
    """A loaded model folder and the ways to sample with it, one of them with a small decoder for the guidance."""

    def __init__(self, folder: Path, num_steps: int, decoder: Path | None = None) -> None:
        files = find_model(get_spec("stablevsr", StableVSRSpec), folder)
        self.networks = DiffusersNetworks(
            load_network(files, "unet"),
            load_network(files, "tcm"),
            load_network(files, "vae"),
            encode_text(files, ""),
        )
        self.small: SmallDecoderNetworks | None = None
        if decoder is not None:
            vae, found = self.networks.vae, decoder_files(decoder)
            loaded = load_decoder(found, describe_decoder(found, vae.config), vae, torch.float32)
            given = {field.name: getattr(self.networks, field.name) for field in dataclasses.fields(self.networks)}
            self.small = SmallDecoderNetworks(**{**given, "guidance_decoder": loaded})
        self.scheduler: DDPM = read_scheduler(files)
        self.steps = self.scheduler.timesteps(num_steps)

    @torch.inference_mode()
    def __call__(self, lq: ByteArray, seed: int, *, scale: float, one_way: bool, small: bool = False) -> ByteArray:
        """Enlarge frames uint8 [T, h, w, 3]."""
        frames = to_unit(lq, 8).transpose(0, 1)
        noise = FrameNoise((1, 4, len(frames), *frames.shape[-2:]), seed, 0, "cpu")
        latents = list(noise("start").unbind(2))
        flows, guidance = _flows(frames), Guidance(scale)
        # a call for each step begins each of them forwards
        groups = (
            [[(index, step)] for index, step in enumerate(self.steps)] if one_way else [list(enumerate(self.steps))]
        )
        networks = self.small if small else self.networks
        assert networks is not None
        for group in groups:
            latents = sample(
                networks,
                self.scheduler,
                frames,
                latents,
                flows,
                [step for _, step in group],
                partial(_drawn, noise, group[0][0]),
                guidance=guidance,
            )
        made = torch.stack([to_pixels(self.networks, latent)[0] for latent in latents], 1)
        return from_unit(made, 8).astype(np.uint8, copy=False)


def _drawn(noise: FrameNoise, first: int, step: int, frame: int) -> Tensor:
    """Return the noise of a frame in a step, counted from the first step of a call."""
    return noise(first + step)[:, :, frame]


def _flows(frames: Tensor) -> Flows:
    large = F.interpolate(frames, scale_factor=SCALE, mode="bicubic", align_corners=False)
    estimator, known = DisFlow(), dict[tuple[int, int], Tensor]()

    def flow(target: int, source: int) -> Tensor:
        if (target, source) not in known:
            known[target, source] = estimator(large[target : target + 1], large[source : source + 1])
        return known[target, source]

    return flow


ROWS: dict[str, dict[str, Any]] = {
    "without TCM": {"scale": 0.0, "one_way": False},
    "TCM, one direction": {"scale": 1.0, "one_way": True},
    "TCM, both directions": {"scale": 1.0, "one_way": False},
}
SMALL = "both directions, small decoder"
SMALL_ROW: dict[str, dict[str, Any]] = {SMALL: {"scale": 1.0, "one_way": False, "small": True}}


def clips(
    folder: Path, num_frames: int, side: int, windows: int, preset: str
) -> Iterator[tuple[str, ByteArray, ByteArray]]:
    """Yield the name, the ground truth and the low-quality form of windows of clips, the same in every run."""
    for number, path in enumerate(list_clips(folder)):
        whole = read_clip(path, num_frames=8 + num_frames * windows)
        for window in range(windows):
            rng = np.random.default_rng((number, window))
            start = min(8 + window * num_frames, len(whole) - num_frames)
            height, width = whole.shape[1:3]
            top, left = (int(rng.integers(size // 4, 3 * size // 4 - side + 1)) for size in (height, width))
            gt = np.ascontiguousarray(whole[start : start + num_frames, top : top + side, left : left + side])
            small = degrade_clip(torch.from_numpy(gt).permute(0, 3, 1, 2), get_recipe(preset), rng, SCALE)
            yield f"{path.stem} {window}", gt, to_bytes(small)


def interval(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95 % interval from resampled clips."""
    data = np.asarray(values, np.float64)
    if not np.isfinite(data).all():
        return (float(data.mean()),) * 3
    drawn = np.random.default_rng(0).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.percentile(data[drawn].mean(1), [2.5, 97.5])
    return float(data.mean()), float(low), float(high)


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Format the results."""
    lines = ["| | PSNR-Y, dB | warping error x 1e3 | tOF x 10 |", "|---|---|---|---|"]
    for name, values in found.items():
        lines.append(f"| {name} | " + " | ".join(_cell(interval(values[metric])) for metric in METRICS) + " |")
    first, *others = ROWS
    for name in others:
        rest = (_cell(interval(_differences(found, name, first, metric)), sign="+") for metric in METRICS)
        lines.append(f"| {name}, minus {first} | " + " | ".join(rest) + " |")
    one, both = others
    rest = (_cell(interval(_differences(found, both, one, metric)), sign="+") for metric in METRICS)
    lines.append("| both directions minus one | " + " | ".join(rest) + " |")
    if SMALL in found:
        rest = (_cell(interval(_differences(found, SMALL, both, metric)), sign="+") for metric in METRICS)
        lines.append("| small decoder minus the model's own | " + " | ".join(rest) + " |")
    return "\n".join(lines)


def _differences(
    found: dict[str, dict[str, list[float]]], name: str, other: str, metric: str
) -> npt.NDArray[np.float64]:
    return np.subtract(found[name][metric], found[other][metric])


def _cell(values: tuple[float, float, float], sign: str = "") -> str:
    middle, low, high = (f"{value:{sign}.2f}" for value in values)
    return f"{middle} ({low} to {high})"


def main() -> None:
    """Sample, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="model folder")
    parser.add_argument("--guidance-decoder", type=Path, help="folder of a small decoder for the guidance")
    parser.add_argument("--hq", type=Path, required=True, help="folder of sharp videos that nothing was trained on")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--side", type=int, default=128, help="of the ground truth's excerpts")
    parser.add_argument("--windows", type=int, default=2, help="excerpts of each clip")
    parser.add_argument("--degradation", default="clean")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sampler = Sampler(options.weights, options.steps, options.guidance_decoder)
    rows = ROWS if options.guidance_decoder is None else ROWS | SMALL_ROW
    found: dict[str, dict[str, list[float]]] = {name: {m: [] for m in METRICS} for name in [*rows, "ground truth"]}
    apart: list[float] = []
    for name, gt, lq in clips(options.hq, options.frames, options.side, options.windows, options.degradation):
        made = {row: sampler(lq, options.seed, **chosen) for row, chosen in rows.items()}
        for row, frames in made.items():
            _add(found[row], measure(frames, gt, metrics=METRICS, crop_px=8))
        if SMALL in made:
            both = made[list(ROWS)[-1]]
            apart.append(mean(measure(made[SMALL], both, metrics=METRICS[:1], crop_px=8)[METRICS[0]]))
        _add(found["ground truth"], measure(gt, gt, metrics=METRICS, crop_px=8))
        print(name, {row: [round(values[m][-1], 2) for m in METRICS] for row, values in found.items()}, flush=True)
    print(table(found))
    if apart:
        print(
            f"PSNR-Y of results with the small decoder against those with the model's own: {_cell(interval(apart))} dB"
        )


def _add(row: dict[str, list[float]], measured: dict[str, npt.NDArray[np.float64]]) -> None:
    for name, values in measured.items():
        row[name].append(mean(values))


if __name__ == "__main__":
    main()
