"""What one call of StableVSR's networks costs at the published size, beside diffusers' own classes.

    python -m benchmarks.speed.stablevsr_call [--size 320x180] [--rounds 2] [--precision fp32] [--only unet decoder]
    python -m benchmarks.speed.stablevsr_call --count [--size 320x180]

Weights are random: time and memory do not depend on them. Compared are the UNet with the TCM (here in two halves, as
sampling calls it; in diffusers ``ControlNetModel`` and ``UNet2DConditionModel``) and the decoder of clean estimates
(``AutoencoderKL.decode``), and measured the small decoder for the guidance, which diffusers does not have. Each measure
has a process of its own, and they take turns; the least time counts, and the largest difference of the results is told.
Needs the extra ``stablevsr``; about 8 GB of memory at the default size.

``--count`` computes nothing: it counts the operations of the same calls on the meta device (a product and its sum are
two), and what a step of a guided frame takes by either decoder.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory.stablevsr_memory import UNET, VAE
from starvsr.engine.progress import peak_memory_bytes
from starvsr.families.stablevsr.decoder import FrameDecoder
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder
from starvsr.families.stablevsr.inference import InferenceNetworks
from starvsr.quantities import parse_box

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WHAT = {"unet": "UNet and TCM", "decoder": "decoder", "small": "small decoder for the guidance"}
OURS_ALONE = ("small",)
"""Calls that diffusers does not have."""
TOKENS = 77
_TIMESTEP = 500


def inputs(size: tuple[int, int], dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Return latent, frame, text and guide for a frame of (width, height)."""
    width, height = size
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[Any, ...]] = {
        "latent": (1, 4, height, width),
        "lq": (1, 3, height, width),
        "text": (1, TOKENS, UNET["cross_attention_dim"]),
        "guide": (1, 3, 4 * height, 4 * width),
    }
    return {name: torch.randn(shape, generator=generator).to(device, dtype) for name, shape in shapes.items()}


def unet_call(ours: bool, given: dict[str, Tensor], dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """Build UNet and TCM and return one call of both."""
    library: Any = import_module("diffusers")
    unet = library.UNet2DConditionModel(**UNET)
    tcm = library.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(64, 128, 256))
    for layer in [*tcm.controlnet_down_blocks, tcm.controlnet_mid_block, tcm.controlnet_cond_embedding.conv_out]:
        torch.nn.init.normal_(layer.weight, std=0.02)  # zero at the start, so that the TCM would change nothing
    unet, tcm = unet.to(device, dtype).eval(), tcm.to(device, dtype).eval()
    latent, lq, text, guide = (given[name] for name in ("latent", "lq", "text", "guide"))
    if ours:
        networks = InferenceNetworks(unet, tcm, None, (text,), 1.0, dtype)  # type: ignore[arg-type]
        return lambda: networks.predict(latent, lq, _TIMESTEP, guide, 1.0)
    both = torch.cat([latent, lq], 1)

    def plain() -> Tensor:
        downs, middle = tcm(both, _TIMESTEP, text, guide, conditioning_scale=1.0, return_dict=False)
        result: Tensor = unet(
            both, _TIMESTEP, text, down_block_additional_residuals=downs, mid_block_additional_residual=middle
        ).sample
        return result

    return plain


def decoder_call(ours: bool, given: dict[str, Tensor], dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """Build the autoencoder and return one decoding."""
    library: Any = import_module("diffusers")
    vae = library.AutoencoderKL(**VAE).to(device, dtype).eval()
    latent = given["latent"]
    if ours:
        decoder = FrameDecoder(vae, dtype)
        return lambda: decoder(latent)
    return lambda: vae.decode(latent / vae.config.scaling_factor, return_dict=False)[0]


def small_decoder_call(ours: bool, given: dict[str, Tensor], dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """Build the small decoder for the guidance at its published size and return one decoding."""
    assert ours, "diffusers has none"
    decoder, latent = GuidanceDecoder().to(device, dtype).eval(), given["latent"]
    return lambda: decoder(latent)


CALLS = {"unet": unet_call, "decoder": decoder_call, "small": small_decoder_call}


def count(size: tuple[int, int]) -> dict[str, float]:
    """Return the TFLOP of each call for a frame of (width, height)."""
    made: dict[str, float] = {}
    given = {name: tensor.to("meta") for name, tensor in inputs(size, torch.float32, "cpu").items()}
    for what, build in CALLS.items():
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.device("meta"),
            FlopCounterMode(display=False) as flops,
        ):
            build(True, given, torch.float32, "meta")()
        made[what] = flops.get_total_flops() / 1e12
    return made


def count_table(size: tuple[int, int]) -> str:
    """Return what calls take, and a step of a guided frame by either decoder."""
    found = count(size)
    lines = ["| call | TFLOP |", "|---|---|", *(f"| {words} | {found[what]:.3f} |" for what, words in WHAT.items())]
    steps = {name: found["unet"] + found[name] for name in ("decoder", "small")}
    lines += [f"| a step of a guided frame, by the {WHAT[name]} | {total:.2f} |" for name, total in steps.items()]
    return "\n".join([*lines, f"| saved of it | {1 - steps['small'] / steps['decoder']:.1%} |"])


def measure(what: str, ours: bool, options: argparse.Namespace, result: Path) -> dict[str, Any]:
    """Time one call in this process, and write what it gives."""
    torch.manual_seed(0)
    dtype, device = DTYPES[options.precision], options.device
    given = inputs(options.size, dtype, device)
    with torch.inference_mode():
        call = CALLS[what](ours, given, dtype, device)
        synchronize = torch.cuda.synchronize if device != "cpu" else lambda: None
        synchronize()
        before, began = peak_memory_bytes(), time.perf_counter()
        made = call()
        synchronize()
        seconds = time.perf_counter() - began
    np.save(result, made.float().cpu().numpy())
    peak = torch.cuda.max_memory_allocated() if device != "cpu" else peak_memory_bytes()
    return {"seconds": seconds, "peak": peak, "before": before}


def in_own_process(what: str, ours: bool, options: argparse.Namespace, result: Path) -> dict[str, Any]:
    """Measure in a process of its own."""
    width, height = options.size
    command = [
        *(sys.executable, "-m", "benchmarks.speed.stablevsr_call", "--measure", what, str(int(ours)), str(result)),
        *("--size", f"{width}x{height}", "--precision", options.precision, "--device", options.device),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_box, default=(320, 180), help="of the low-quality frame")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", choices=list(DTYPES), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=list(WHAT), default=list(WHAT), help="calls to measure")
    parser.add_argument("--count", action="store_true", help="count operations instead of measuring seconds")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        what, ours, result = options.measure
        print(json.dumps(measure(what, bool(int(ours)), options, Path(result))))
        return 0
    if options.count:
        print(count_table(options.size))
        return 0
    width, height = options.size
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, {width}x{height}, {options.precision}")
    print("\n| call | code | seconds | peak memory of the process | largest difference |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for what, words in ((what, WHAT[what]) for what in options.only):
            sides = (True,) if what in OURS_ALONE else (True, False)
            files = {ours: Path(name) / f"{what}{ours:d}.npy" for ours in sides}
            rounds = [
                {ours: in_own_process(what, ours, options, file) for ours, file in files.items()}
                for _ in range(options.rounds)
            ]
            results = {ours: np.load(file) for ours, file in files.items()}
            apart = f"{np.abs(results[True] - results[False]).max():.1e}" if len(sides) > 1 else "-"
            for ours in sides:
                code = "this package" if ours else "diffusers"
                seconds = min(each[ours]["seconds"] for each in rounds)
                peak = min(each[ours]["peak"] for each in rounds) / 2**30
                print(f"| {words} | {code} | {seconds:.1f} | {peak:.2f} GiB | {apart} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
