"""Time and memory of the published STAR at full size (2.04 B parameters) on a GPU, with random weights.

    python -m benchmarks.published.star_gpu [--cases toy-resident toy-stream ...] [--settings 30] [--write
            docs/models.md]
    python -m benchmarks.published.star_gpu --tiny --device cpu      # small networks, to see that it works

For each case: seconds, peak memory that torch allocated and reserved, the prediction, and the share of the time that
the sums alone take at a peak rate (`--peak-tflops`, 790 for an H200's dense float16). Random weights change neither
time nor memory. Then random sizes and plans: prediction against measurement, and whether memory ran out after planning.

Needs torch, numpy, einops and safetensors; no network, no video library. On a CPU the bytes of all tensors alive are
counted in place of the allocator's.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from pathlib import Path
from typing import Any

import torch

from benchmarks.marked import replace_marked
from benchmarks.published.star_gpu_bench import CASES, FULL, GB, TINY, Bench
from starvsr.families.star_i2vgen.sampling import FAST_STEPS

BEGIN, END = "<!-- star gpu: begin -->", "<!-- star gpu: end -->"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    sizes = TINY if options.tiny else FULL
    bench = Bench(sizes, device, options.steps, options.peak_tflops)
    cases = [case for case in CASES if not options.cases or case.name in options.cases]
    told: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in bench.network.parameters()),
        "steps": options.steps,
        "cases": {},
        "settings": [],
    }
    for case in [case for case in cases if not case.int8]:
        told["cases"][case.name] = bench.measure(case)
        print(_line(case.name, told["cases"][case.name]), flush=True)
    chance = random.Random(options.seed)
    for _ in range(options.settings):
        record = bench.measure_setting(chance)
        told["settings"].append(record)
        print(_line("setting", record), flush=True)
    for case in [case for case in cases if case.int8]:
        told["cases"][case.name] = bench.measure(case)
        print(_line(case.name, told["cases"][case.name]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "star_gpu.json").write_text(json.dumps(told, indent=1) + "\n")
    if options.write:
        replace_marked(options.write, BEGIN, END, report(told))


def _line(name: str, record: dict[str, Any]) -> str:
    share = f", {100 * record['share_of_bound']:.0f} % of the bound" if "share_of_bound" in record else ""
    return (
        f"{name}: {record['seconds']:.1f} s{share}, allocated {record['allocated'] / GB:.2f} GB, reserved "
        f"{record['reserved'] / GB:.2f} GB, predicted {record['predicted'] / GB:.2f} GB (without margin "
        f"{record['ratio']:.2f} of allocated){', memory ran out' if record['ran_out'] else ''}"
    )


def report(told: dict[str, Any]) -> str:
    """Put measurements into words and a table."""
    lines = [
        f"Measured on {told['device']} with torch {told['torch']}, random weights, {told['steps']} steps "
        "(`python -m benchmarks.published.star_gpu`):",
        "",
        "| case | seconds | share of the bound | allocated | reserved | predicted |",
        "|---|---|---|---|---|---|",
    ]
    for name, case in told["cases"].items():
        sizes = " | ".join(f"{case[key] / GB:.1f} GB" for key in ("allocated", "reserved", "predicted"))
        lines.append(f"| {name} | {case['seconds']:.1f} | {100 * case['share_of_bound']:.0f} % | {sizes} |")
    settings = told["settings"]
    if settings:
        ratios = [setting["ratio"] for setting in settings]
        lines += [
            "",
            f"Over {len(settings)} random sizes and plans the prediction without its margin was "
            f"{min(ratios):.2f} to {max(ratios):.2f} of what was allocated; memory ran out "
            f"{sum(setting['ran_out'] for setting in settings)} times.",
        ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and clips")
    parser.add_argument("--cases", nargs="*", choices=[case.name for case in CASES], help="all, if none is named")
    parser.add_argument("--steps", type=int, default=FAST_STEPS)
    parser.add_argument(
        "--settings", type=int, default=30, help="random sizes and plans to hold the prediction against"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak-tflops", type=float, default=790.0)
    parser.add_argument("--write", type=Path, help="Markdown file whose part between marks is replaced")
    parser.add_argument("--out", type=Path, default=Path("results/star_gpu"))
    return parser


if __name__ == "__main__":
    main()
