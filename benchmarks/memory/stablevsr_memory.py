"""What StableVSR at its published size is predicted to need on typical cards, from its networks on the meta device.

    python -m benchmarks.memory.stablevsr_memory [--write docs/models.md]

Needs neither weights nor a GPU, but torchvision for RAFT. Tests hold the prediction against counted bytes at tiny size
(tests/families/stablevsr/test_footprint.py, test_flow_bytes.py).
"""

from __future__ import annotations

import argparse
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.marked import replace_marked
from starvsr.engine.chunk_plan import ChunkPlan, Sizes
from starvsr.engine.traits import Traits
from starvsr.errors import ResourceError
from starvsr.families.options import UpscaleOptions
from starvsr.families.stablevsr.call_bytes import trace_calls
from starvsr.families.stablevsr.flow_bytes import flow_bytes
from starvsr.families.stablevsr.footprint import Maps, StableVSRFootprint
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder
from starvsr.families.stablevsr.loaded import LoadedNetworks
from starvsr.families.stablevsr.plan import WHOLE, StableVSRPlan
from starvsr.families.stablevsr.upscaler import OVERLAP, SEGMENT, TILE_OVERLAP_PX
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.raft import RaftFlow, check_raft
from starvsr.models.int8 import largest_unpacked, to_int8
from starvsr.models.weights import build_empty
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.planning import PlanRequest, plan_job
from starvsr.offload.traced import ComponentBytes
from starvsr.quantities import format_size
from starvsr.training.families.stablevsr_parts import PUBLISHED_UNET, PUBLISHED_VAE

BEGIN, END = "<!-- stablevsr memory: begin -->", "<!-- stablevsr memory: end -->"
GB = 2**30
CARDS_GB = (4, 5, 6, 8, 12, 24)
INPUTS = ((320, 180), (480, 270), (960, 540))
KINDS = (("fp16", "raft"), ("int8", "raft"), ("fp16", "dis"))
UNET = PUBLISHED_UNET
VAE = PUBLISHED_VAE | {"scaling_factor": 0.08333}


def empty_raft() -> RaftFlow:
    """Return RAFT without weights on the meta device.

    Raises:
        OptionError: torchvision is not installed.
    """
    check_raft()
    library: Any = import_module("torchvision.models.optical_flow")
    return RaftFlow(build_empty(lambda: library.raft_large(weights=None)))


@lru_cache(maxsize=2)
def published_networks(precision: str) -> tuple[Any, Any, Any]:
    """Return UNet, TCM and autoencoder of the published size on the meta device.

    Args:
        precision: "fp16", or "int8", which keeps the weights of the first two in 8 bits.
    """
    library: Any = import_module("diffusers")
    unet = build_empty(lambda: library.UNet2DConditionModel(**UNET))
    channels = (64, 128, 256)
    tcm = build_empty(
        lambda: library.ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=channels, load_weights_from_unet=False
        )
    )
    for network in (unet, tcm):
        nn.Module.to(network, torch.float16)
        if precision == "int8":
            to_int8(network)
    return unet, tcm, build_empty(lambda: library.AutoencoderKL(**VAE))


def footprint(precision: str, flow: str, *, small: bool = False) -> StableVSRFootprint:
    """Return the footprint at the published size.

    Args:
        precision: "fp16" or "int8".
        flow: "raft" or "dis".
        small: with the small decoder for the guidance.
    """
    decoder = build_empty(GuidanceDecoder).half() if small else None
    unet, tcm, vae = published_networks(precision)
    networks = {"unet": unet, "tcm": tcm, "vae": vae}
    calls = trace_calls(networks, torch.bfloat16, torch.float16, None if decoder is None else decoder.config)
    estimator = empty_raft() if flow == "raft" else DisFlow()
    loaded = LoadedNetworks(unet, tcm, vae, estimator, decoder)
    return StableVSRFootprint(
        trace=lambda: calls,
        maps=Maps(tuple(UNET["block_out_channels"]), 2, 2),
        components={name: ComponentBytes.of(each) for name, each in loaded.components().items()},
        uses=loaded.uses(),
        unpacked=max(largest_unpacked(unet), largest_unpacked(tcm)),
        num_texts=1,
        directions=2,
        flow=partial(flow_bytes, estimator),
        device="cuda",
        chunked_flow=None if loaded.chunked_flow is None else partial(flow_bytes, loaded.chunked_flow),
    )


def plan(made: StableVSRFootprint, size: tuple[int, int], budget: int) -> ChunkPlan | None:
    """Return the plan for a video of 1000 frames; None if nothing fits."""
    width, height = size
    sizes = Sizes(height, width, 4, 4 * height, 4 * width)
    traits = Traits(overlap=OVERLAP, tiling="family", tile_overlap=TILE_OVERLAP_PX, segment=SEGMENT)
    rows, columns = height + -height % 4, width + -width % 4
    request = PlanRequest(sizes, traits, UpscaleOptions(memory=budget), rows, columns, 1.0, 1000)
    try:
        return plan_job(made, request, PLACES, budget)
    except ResourceError:
        return None


def table() -> str:
    """Return the plans for cards and inputs."""
    heads = " | ".join(f"{count} GB" for count in CARDS_GB)
    lines = [f"| input | type, flow | {heads} |", "|---" * (len(CARDS_GB) + 2) + "|"]
    for precision, flow, small in (*((*each, False) for each in KINDS), *((*each, True) for each in KINDS)):
        made, kind = footprint(precision, flow, small=small), f"{precision}, {flow}" + ", small decoder" * small
        for size in INPUTS:
            cells = []
            for card in CARDS_GB:
                found = plan(made, size, card * GB)
                if found is None:
                    cells.append("no")
                    continue
                cells.append(cell(found))
            lines.append(f"| {size[0]}x{size[1]} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(found: ChunkPlan) -> str:
    """Return a plan in few words."""
    plan, prediction = found.memory_plan, found.prediction
    assert isinstance(plan, StableVSRPlan) and prediction is not None
    rows, columns = plan.tiles
    tiles = f", {columns}x{rows} tiles" if plan.tiles != WHOLE else ""
    pieces = ", strips" * plan.decoding_strips + ", chunks" * plan.chunked_flow
    return f"{found.length} frames, {plan.place}{tiles}{pieces}, {format_size(prediction.peak)}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(arguments)
    text = table()
    print(text)
    if given.write is not None:
        replace_marked(given.write, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
