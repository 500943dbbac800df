"""Measure what the shortcuts of sampling cost and save: fewer steps, guidance in an interval, kept features.

    python -m benchmarks.published.star_shortcuts --weights FILE --weak FILE --hq DIR [--clips 4] [--write
            docs/models.md]

The published STAR is too large to be sampled on a CPU, so a small STAR stands for it, trained to sample from noise by
recipes/star-shortcuts.toml: same network class, sampler, guidance and code of the shortcuts. It reads no text: in place
of the negative prompt stands an earlier state of itself (--weak; arXiv 2406.02507).

Each sharp clip of --hq is cut, degraded (preset light, fixed seed) and enlarged with each setting, with the same noise.
Told are network calls, CPU time, PSNR-Y and SSIM-Y against the sharp clip, and PSNR-Y against the result of all steps.
The last column is for the published network: its share of multiplications, counted on tensors without memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.marked import replace_marked
from starvsr.data.paired import find_pairs, make_eval_pairs
from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.samplers import dpmpp_2m_sde
from starvsr.diffusion.schedules import star_schedule
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling, Text
from starvsr.families.star_small.spec import STAR_SMALL
from starvsr.imaging.color import adain
from starvsr.imaging.frames import enlarge
from starvsr.metrics.fidelity import psnr_y, ssim
from starvsr.metrics.metric import ByteArray
from starvsr.models.codecs import PixelUnshuffleCodec
from starvsr.models.feature_cache import FeatureCache, FeatureCaches
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.small.model import StarSmall
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights import load_weights
from starvsr.video.codec_pass import read_clip
from starvsr.video.pixels import from_unit, to_unit

MARKS = ("<!-- star-shortcuts:begin -->", "<!-- star-shortcuts:end -->")
GUIDANCE = 2.0
PUBLISHED_LATENT = (8, 90, 160)
FULL = "all steps"


@dataclass(frozen=True)
class Setting:
    """A way to sample: the flags that ask for it, and what they come to."""

    name: str
    steps: int = FAST_STEPS
    sampling: Sampling = field(default_factory=lambda: Sampling(guidance=GUIDANCE))


def settings() -> list[Setting]:
    """List the settings, the one without shortcuts first."""

    def guided(**changes: Any) -> Sampling:
        return Sampling(guidance=GUIDANCE, **changes)

    return [
        Setting(FULL),
        *(Setting(f"--steps {steps}", steps) for steps in (10, 7, 5)),
        Setting("--guidance-interval 100:600", sampling=guided(guidance_interval=(100, 600))),
        Setting("--guidance-interval 250:600", sampling=guided(guidance_interval=(250, 600))),
        Setting("--guidance 1", sampling=Sampling(guidance=1.0)),
        *(Setting(f"--feature-cache {every}", sampling=guided(feature_cache=every)) for every in (2, 3, 5)),
        Setting(
            "--guidance-interval 100:600 --feature-cache 2",
            sampling=guided(guidance_interval=(100, 600), feature_cache=2),
        ),
    ]


class Sampler:
    """The small STAR and its weaker self; the latents of a clip must fit the network."""

    def __init__(self, strong: StarSmall, weak: StarSmall) -> None:
        self._networks: dict[Text, StarSmall] = {"positive": strong.eval(), "negative": weak.eval()}
        self._codec, self._schedule = PixelUnshuffleCodec(), star_schedule()
        self.calls = 0
        self.kept_calls = 0

    @torch.inference_mode()
    def __call__(self, lq: ByteArray, setting: Setting) -> ByteArray:
        """Enlarge a clip uint8 [T, h, w, 3] four times; counts the network's calls."""
        pixels = to_unit(lq)[None]  # [1, 3, T, h, w]
        hint = self._codec.encode(enlarge(pixels, pixels.shape[-2] * 4, pixels.shape[-1] * 4, "bicubic"))
        noise = FrameNoise(tuple(hint.shape), seed=0)
        levels = setting.sampling.levels(self._schedule, setting.steps)
        start = self._schedule.add_noise(hint, noise("start"), self._schedule.integer_timestep_at(levels[:1]))
        caches = FeatureCaches(setting.sampling.feature_cache)
        self.calls = self.kept_calls = 0

        def ask(x: Tensor, t: Tensor, text: Text, cache: FeatureCache | None) -> Tensor:
            self.calls += 1
            self.kept_calls += cache is not None and cache.features is not None
            network = self._networks[text]
            out: Tensor = network.unet(x, t, network.context(1), hint, cache=cache)
            return out

        denoise = setting.sampling.denoiser(ask, self._schedule, caches, "clip")
        latents = dpmpp_2m_sde(denoise, start, levels, noise=noise, on_step=lambda *_: caches.next_step())
        return cast(ByteArray, from_unit(adain(self._codec.decode(latents).clamp(-1, 1), pixels)[0], 8))


@dataclass
class Row:
    """What a setting did, one value a clip."""

    calls: int = 0
    kept_calls: int = 0
    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    likeness: list[float] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    sampler = Sampler(load_small(options.weights), load_small(options.weak))
    rows = measure(sampler, list(read_pairs(options)))
    shallow = shallow_share(StarUNetConfig(), *PUBLISHED_LATENT)
    text = table(rows, shallow)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    told = {"rows": {name: vars(row) for name, row in rows.items()}, "shallow_share": shallow}
    (options.out / "star_shortcuts.json").write_text(json.dumps(told, indent=1) + "\n")
    if options.write:
        replace_marked(options.write, *MARKS, text)


def measure(sampler: Sampler, pairs: list[tuple[ByteArray, ByteArray]], crop_px: int = 8) -> dict[str, Row]:
    """Enlarge each clip with each setting, the settings taking turns."""
    rows = {setting.name: Row() for setting in settings()}
    for lq, gt in pairs:
        full: ByteArray | None = None
        for setting in settings():
            began = time.process_time()
            hq = sampler(lq, setting)
            row = rows[setting.name]
            row.seconds.append(time.process_time() - began)
            row.calls, row.kept_calls = sampler.calls, sampler.kept_calls
            full = hq if full is None else full
            row.psnr.append(float(psnr_y(gt, hq, crop_px=crop_px).mean()))
            row.ssim.append(float(ssim(gt, hq, crop_px=crop_px).mean()))
            row.likeness.append(float(psnr_y(full, hq, crop_px=crop_px).mean()) if hq is not full else float("inf"))
    return rows


def shallow_share(config: StarUNetConfig, frames: int, height: int, width: int) -> float:
    """Return the share of a whole call's multiplications in a call that takes deep features from a cache."""
    with torch.device("meta"):
        network = StarUNet(config).eval()
        x, hint = torch.empty(2, 1, config.in_channels, frames, height, width)
        context = torch.empty(1, 77, config.context_dim)
        t = torch.zeros(1, dtype=torch.int64)
    network.budget.max_tokens = frames * height * width
    cache = FeatureCache(2)
    counts = []
    with torch.no_grad():
        for _ in range(2):
            with FlopCounterMode(display=False) as counter:
                network(x, t, context, hint, cache=cache)
            counts.append(counter.get_total_flops())
    return counts[1] / counts[0]


def table(rows: dict[str, Row], shallow: float) -> str:
    """Return the figures as a table of Markdown."""
    full = rows[FULL]
    lines = [
        "| setting | network calls | CPU time | PSNR-Y, dB | SSIM-Y | PSNR-Y to all steps, dB | work at full size |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        calls = f"{row.calls}" + (f", {row.kept_calls} of them with kept features" if row.kept_calls else "")
        work = (row.calls - row.kept_calls + row.kept_calls * shallow) / full.calls
        seconds = sum(row.seconds) / sum(full.seconds)
        likeness = "" if row is full else f"{statistics.mean(row.likeness):.1f}"
        psnr, similarity = statistics.mean(row.psnr), statistics.mean(row.ssim)
        label = name if row is full else f"`{name}`"
        lines.append(f"| {label} | {calls} | {seconds:.2f} | {psnr:.2f} | {similarity:.4f} | {likeness} | {work:.2f} |")
    frames, height, width = PUBLISHED_LATENT
    lines += [
        "",
        f"{len(full.psnr)} clips. In the published network a call with kept features has {shallow:.0%} of the "
        f"multiplications of a whole one (latent {frames}x{height}x{width}).",
    ]
    return "\n".join(lines)


def load_small(path: Path) -> StarSmall:
    """Load weights of star-small's network."""
    network = StarSmall(STAR_SMALL.network, STAR_SMALL.context_tokens)
    load_weights(network, path)
    return network.requires_grad_(False)


def read_pairs(options: argparse.Namespace) -> Iterator[tuple[ByteArray, ByteArray]]:
    """Yield low-quality and sharp clips, made under OUT/pairs or there already."""
    width, height = options.size
    folder = options.out / f"pairs_{width}x{height}_{options.frames}"
    if not (folder / "pairs.json").exists():
        make_eval_pairs(options.hq, folder, ["light"], max_frames=options.frames, max_gt_size=(width, height), scale=4)
    for pair in find_pairs(folder)[: options.clips]:
        yield read_clip(pair.lq), read_clip(pair.gt)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights that recipes/star-shortcuts.toml leaves")
    parser.add_argument("--weak", type=Path, required=True, help="those of its first run, for guidance")
    parser.add_argument("--hq", type=Path, required=True, help="folder of sharp clips")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 264), metavar=("W", "H"), help="of the sharp clips: "
                        "W / 4 must be 0 and H / 4 must be 2 modulo 4")  # fmt: skip
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/star_shortcuts"))
    parser.add_argument("--write", type=Path, help="Markdown file to put the table into, between its marks")
    return parser


if __name__ == "__main__":
    main()
