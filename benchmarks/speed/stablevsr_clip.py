"""Seconds for each frame of a clip and peak memory of StableVSR at its published size, with random weights.

    python -m benchmarks.speed.stablevsr_clip [--size 320x180] [--frames 8] [--steps 4] [--precision fp16] [--flow raft]
            [--memory 5GB] [--small-decoder] [--write docs/models.md]
    python -m benchmarks.speed.stablevsr_clip --tiny --device cpu --size 36x32 --frames 2 --steps 2 --flow dis

Weights are random: time and memory do not depend on them. One segment is planned for the memory that is named (or is
free), enlarged with few steps, and timed by phase: a step of one frame, and what comes before and after all steps
(optical flow; decoding). The time with 50 steps follows from both. The peak is what the device's allocator counted,
beside the prediction without its margin; on a CPU it is that of the process. Needs the extra ``stablevsr``, and
torchvision for ``--flow raft``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.marked import replace_marked
from benchmarks.memory.stablevsr_memory import UNET, VAE
from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.engine.chunk_plan import PlanInput, Sizes
from starvsr.engine.progress import peak_memory_bytes
from starvsr.engine.segments import Segment
from starvsr.engine.upscaler import JobSettings
from starvsr.families.options import UpscaleOptions
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.upscaler import StableVSRUpscaler
from starvsr.models.flow.dis import load_dis
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.raft import RaftFlow, check_raft
from starvsr.models.int8 import to_int8
from starvsr.offload.memory_plan import Prediction
from starvsr.quantities import format_size, parse_box, parse_size

BEGIN, END = "<!-- stablevsr clip: begin -->", "<!-- stablevsr clip: end -->"
STEPS = 50
"""Of the published method."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float16}
TINY_DATA = Path(__file__).parents[2] / "tests" / "parity" / "data" / "stablevsr" / "p4_single_frame.json"


@dataclass(frozen=True)
class Measured:
    """What one segment took.

    Args:
        plan: In words.
        before: Seconds until the first step ended, less one step: optical flow, and weights on their way.
        step: Seconds of a step of one frame, from the second step on.
        after: Seconds of decoding a frame, and of what comes with it.
        frames: Of the segment.
        peak: Bytes.
        predicted: Bytes, without margin.
    """

    plan: str
    before: float
    step: float
    after: float
    frames: int
    peak: int
    predicted: int

    @property
    def seconds_each(self) -> float:
        """Seconds for a frame with all steps."""
        return self.before / self.frames + STEPS * self.step + self.after


def build(precision: str, flow: str, device: str, *, small: bool, tiny: bool) -> StableVSRUpscaler:
    """Return a model with random weights.

    Raises:
        OptionError: torchvision or OpenCV are missing.
    """
    library: Any = import_module("diffusers")
    sizes = json.loads(TINY_DATA.read_text())["tiny_config"] if tiny else {"unet": UNET, "vae": VAE}
    dtype = DTYPES[precision]
    torch.manual_seed(0)
    with torch.device(device):
        unet = library.UNet2DConditionModel(**sizes["unet"])
        channels = (16, 32, 64) if tiny else (64, 128, 256)
        tcm = library.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
        vae = library.AutoencoderKL(**sizes["vae"])
        decoder = GuidanceDecoder().to(dtype) if small else None
    for network in (unet, tcm):
        nn.Module.to(network, dtype)
    networks = [each.cpu().eval().requires_grad_(False) for each in (unet, tcm, vae)]
    if precision == "int8":
        to_int8(networks[0])
        to_int8(networks[1])
    text = torch.randn(1, 77, sizes["unet"]["cross_attention_dim"])
    parts = DiffusersNetworks(
        networks[0], networks[1], networks[2], text, None if decoder is None else decoder.cpu().eval()
    )
    schedule = DDPMConfig(
        beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False, steps_offset=1
    )
    return StableVSRUpscaler("stablevsr", parts, DDPM(schedule), _flow(flow, device), device=device)


def _flow(name: str, device: str) -> FlowEstimator:
    if name == "dis":
        return load_dis()
    check_raft()
    library: Any = import_module("torchvision.models.optical_flow")
    return RaftFlow(library.raft_large(weights=None).eval().requires_grad_(False))


def measure(model: StableVSRUpscaler, size: tuple[int, int], frames: int, steps: int, memory: int | None) -> Measured:
    """Enlarge one segment of noise.

    Args:
        model: See `build`.
        size: Width and height of the low-quality frames.
        frames: Of the segment.
        steps: At least 2: the first one is timed with what comes before.
        memory: Bytes to plan for; None takes what is free.

    Raises:
        ResourceError: The segment does not fit.
    """
    width, height = size
    job = JobSettings(model.scale, steps)
    options = UpscaleOptions(memory="auto" if memory is None else memory, segment=frames, overlap=0)
    plan = model.plan(PlanInput(Sizes(height, width, 4, 4 * height, 4 * width), options, frames), job)
    assert plan.memory_plan is not None and isinstance(plan.prediction, Prediction)
    on_gpu = model.device != "cpu"
    synchronize = torch.cuda.synchronize if on_gpu else lambda: None
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    marks = [time.perf_counter()]

    def on_step(done: int, total: int) -> None:
        synchronize()
        marks.append(time.perf_counter())

    lq = torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with model.open(job, plan) as session:
        for _ in session.upscale(
            lq, slice(0, frames), segment=Segment(0, 0, frames, 0, frames), first_frame=0, on_step=on_step
        ):
            pass
        synchronize()
        end = time.perf_counter()
        peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory_bytes()
    step = (marks[-1] - marks[1]) / (steps - 1)
    return Measured(
        plan.memory_plan.describe(),
        max(0.0, marks[1] - marks[0] - step),
        step / frames,
        (end - marks[-1]) / frames,
        frames,
        peak,
        plan.prediction.peak - plan.prediction.margin,
    )


def table(found: Measured, name: str) -> str:
    """Return what was measured, in words and numbers."""
    return "\n".join(
        [
            f"| {name} | |",
            "|---|---|",
            f"| plan | {found.plan} |",
            f"| a step of one frame | {found.step:.3f} s |",
            f"| optical flow and moving weights, for each frame | {found.before / found.frames:.3f} s |",
            f"| decoding a frame | {found.after:.3f} s |",
            f"| a frame with {STEPS} steps | {found.seconds_each:.1f} s |",
            f"| peak memory | {format_size(found.peak)} |",
            f"| predicted without margin | {format_size(found.predicted)} |",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_box, default=(320, 180), help="of the low-quality frames")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", choices=list(DTYPES), default="fp16")
    parser.add_argument("--flow", choices=("raft", "dis"), default="raft")
    parser.add_argument("--memory", type=parse_size)
    parser.add_argument("--small-decoder", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="networks of the recorded numbers, to see that it works")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(arguments)
    if given.steps < 2:
        parser.error("--steps must be 2 or more: the first step is timed with what comes before it")
    precision = "fp32" if given.device == "cpu" else given.precision
    model = build(precision, given.flow, given.device, small=given.small_decoder, tiny=given.tiny)
    found = measure(model, given.size, given.frames, given.steps, given.memory)
    device = torch.cuda.get_device_name() if given.device != "cpu" else platform.machine()
    width, height = given.size
    decoder = ", small decoder" if given.small_decoder else ""
    text = table(found, f"{device}, {width}x{height}, {given.frames} frames, {precision}, {given.flow}{decoder}")
    print(text)
    if given.write is not None:
        replace_marked(given.write, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
