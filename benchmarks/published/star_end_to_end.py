"""Run a published STAR from a Hub to a video file, with random weights: fetch, check, load, sample, decode, encode.

    python -m benchmarks.published.star_end_to_end [--folder DIR] [--tiny] [--size 32 20 3] [--write docs/models.md]

Makes the files of star-light as they are published (the network as a `.pt` file of float16, VAE and text tower as
safetensors), serves them from a stand-in for the Hub on this machine, and runs `starvsr models fetch` (its connection
is cut once on the way) and `starvsr upscale` as commands of their own. Nothing is replaced but the numbers in the
weights, and with them the digests that starvsr knows. Prints seconds and peak of resident memory of each stage.

At full size it takes 12 GB on the disk, 10 GB of memory and some minutes; `--tiny` shrinks the networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.marked import replace_marked
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights import build_empty
from starvsr.models.weights.components import COMPONENTS, Component, HubFile
from tests.support.hub_server import StandInHub, facts, serve

MODEL = "star-light"
MERGES = Path(__file__).parents[2] / "tests" / "parity" / "data" / "clip_merges.txt.gz"
PARTS = ("star-light-unet", "svd-vae", "sd2-text")
GB = 1e9
MARKS = ("<!-- star-end-to-end:begin -->", "<!-- star-end-to-end:end -->")
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Networks:
    """Sizes of the three networks."""

    unet: StarUNetConfig
    vae: TemporalVaeConfig
    tower: TextTowerConfig


FULL = Networks(StarUNetConfig(), TemporalVaeConfig(), TextTowerConfig())
TINY = Networks(
    StarUNetConfig(width=32, num_res_blocks=1, head_dim=16, first_heads=2, context_dim=16, temporal_stages=(4,) * 4),
    TemporalVaeConfig(channels=(32, 32, 32, 32)),
    TextTowerConfig(width=16, heads=2, blocks=2),
)


@dataclass(frozen=True)
class Stage:
    """What a stage took."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; with `--as-starvsr` be the command line of starvsr that knows the digests of these files."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["--as-starvsr"]:
        sys.exit(_as_starvsr(Path(words[1]), words[2:]))
    if words[:1] == ["--make"]:
        make_files(Path(words[1]), TINY if words[2:] == ["--tiny"] else FULL)
        return
    options = _parser().parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="star-end-to-end-") as folder:
        told = measure(Path(folder), options)
    for stage in told["stages"]:
        print(f"{stage['name']}: {stage['seconds']:.0f} s, peak {stage['peak_bytes'] / GB:.1f} GB")
    print(f"{told['output']}; the file of the network has {told['network_bytes'] / GB:.2f} GB")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "star_end_to_end.json").write_text(json.dumps(told, indent=1) + "\n")
    if options.write:
        replace_marked(options.write, *MARKS, table(told))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run all stages inside a folder that has room for the weights twice."""
    tiny = ["--tiny"] if options.tiny else []
    this = [sys.executable, "-m", "benchmarks.published.star_end_to_end"]
    width, height, num_frames = options.size
    made, _ = run_stage("making random weights", [*this, "--make", str(folder / "served"), *tiny])
    hub = StandInHub(files=dict(served_files(folder / "served")))
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"files": _facts(hub), "tiny": options.tiny}))
    clip, out = folder / "clip.mkv", folder / "out.mp4"
    write_test_clip(clip, width, height, num_frames)
    network = hub.files["SherryX/STAR/I2VGen-XL-based/light_deg.pt"]
    hub.cut_after, hub.cuts_left = facts(network)[0] // 2, 1
    with serve(hub):
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "STARVSR_"))},
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(folder / "cache"),
        }
        starvsr = [*this, "--as-starvsr", str(settings)]
        fetched, _ = run_stage("fetching and checking", [*starvsr, "models", "fetch", MODEL], environment)
    resumed = sorted({bounds for path, bounds in hub.sent if path.endswith("light_deg.pt") and bounds})
    words = ["upscale", str(clip), "-o", str(out), "--model", MODEL, "--device", "cpu", *options.flags.split()]
    upscaled, said = run_stage("loading, sampling, decoding, encoding", [*starvsr, *words], environment)
    from starvsr import probe

    info = probe(out)
    return {
        "stages": [dataclasses.asdict(stage) for stage in (made, fetched, upscaled)],
        "network_bytes": facts(network)[0],
        "resumed_at": resumed,
        "clip": [width, height, num_frames],
        "output": f"{info.width}x{info.height}, {info.estimated_frames} frames",
        "said": said.strip().splitlines()[-1],
        "tiny": options.tiny,
        "threads": torch.get_num_threads(),
    }


def run_stage(name: str, words: list[str], environment: dict[str, str] | None = None) -> tuple[Stage, str]:
    """Run a command to its end.

    Raises:
        SystemExit: it failed.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{name} failed with status {process.returncode}:\n{text}")
    seconds = time.perf_counter() - began
    return Stage(name, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024), text


def make_files(folder: Path, networks: Networks) -> None:
    """Write the files of star-light with random weights, named and laid out as they are published."""
    folder.mkdir(parents=True)
    torch.save({"state_dict": random_tensors(lambda: StarUNet(networks.unet), torch.float16)}, folder / "light_deg.pt")
    save_file(random_tensors(lambda: TemporalVae(networks.vae), torch.float16), folder / "vae.safetensors")
    sizes = networks.vae
    config = {
        "_class_name": "AutoencoderKLTemporalDecoder",
        "block_out_channels": sizes.channels,
        "layers_per_block": sizes.layers_per_block,
        "latent_channels": sizes.latent_channels,
        "scaling_factor": sizes.scaling_factor,
    }
    (folder / "vae_config.json").write_text(json.dumps(config))
    tower = random_tensors(lambda: TextTower(networks.tower), torch.float32)
    save_file(dict(in_names_of_transformers(tower)), folder / "text.safetensors")
    (folder / "text_config.json").write_text(json.dumps({"architectures": ["CLIPTextModel"]}))
    (folder / "merges.txt").write_bytes(gzip.decompress(MERGES.read_bytes()))


def random_tensors(build: Callable[[], nn.Module], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return tensors of unit gain for a network, by name, all from one small block of numbers."""
    block = torch.empty(_BLOCK).normal_(generator=torch.Generator().manual_seed(0))
    tensors = {}
    for name, wanted in build_empty(build).state_dict().items():
        tensor = torch.empty(wanted.shape, dtype=dtype)
        flat = tensor.view(-1)
        gain = wanted[0].numel() ** -0.5 if wanted.ndim > 1 else 0.1
        shift = 1.0 if wanted.ndim == 1 and name.endswith("weight") else 0.0
        for part in flat.split(_BLOCK):
            part.copy_(block[: len(part)] * gain + shift)
        tensors[name] = tensor
    return tensors


def in_names_of_transformers(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors of our text tower the names under which Stable Diffusion 2.x publishes them."""
    whole = {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final.weight": "final_layer_norm.weight",
        "ln_final.bias": "final_layer_norm.bias",
    }
    inside = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }
    for name, tensor in tensors.items():
        if name in whole:
            yield f"text_model.{whole[name]}", tensor
            continue
        _, _, number, rest = name.split(".", 3)
        prefix = f"text_model.encoder.layers.{number}."
        if rest.startswith("attn.in_proj_"):
            kind = rest.removeprefix("attn.in_proj_")
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{prefix}self_attn.{letter}_proj.{kind}", third.contiguous()
        else:
            part, _, kind = rest.rpartition(".")
            yield f"{prefix}{inside[part]}.{kind}", tensor


def served_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files under the names that the Hub has them under."""
    names = {
        "I2VGen-XL-based/light_deg.pt": "light_deg.pt",
        "vae/config.json": "vae_config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors": "vae.safetensors",
        "text_encoder/config.json": "text_config.json",
        "text_encoder/model.safetensors": "text.safetensors",
        "tokenizer/merges.txt": "merges.txt",
    }
    for part in PARTS:
        component = COMPONENTS[part]
        for file in component.files:
            yield f"{component.repos[0]}/{file.path}", folder / names[file.path]


def _facts(hub: StandInHub) -> dict[str, tuple[int, str]]:
    return {name: facts(content) for name, content in hub.files.items()}


def _as_starvsr(settings: Path, words: list[str]) -> int:
    """Be starvsr, knowing sizes and digests of these files in place of the published ones."""
    from starvsr.apps.cli import main as starvsr
    from starvsr.families import registry
    from starvsr.families.star_i2vgen import load as loading_published
    from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
    from starvsr.models.weights import components as sources

    told = json.loads(settings.read_text())

    def known(part: Component) -> Component:
        files = []
        for file in part.files:
            found = told["files"].get(f"{part.repos[0]}/{file.path}")
            pinned = found is not None and file.sha256 is not None
            files.append(HubFile(file.path, *found) if pinned else file)
        return dataclasses.replace(part, files=tuple(files))

    sources.COMPONENTS = {name: known(part) for name, part in COMPONENTS.items()}
    if told["tiny"]:
        spec = dataclasses.replace(registry.get_spec(MODEL, StarI2VGenSpec), unet=TINY.unet)
        registry.MODELS[MODEL] = spec
        loading_published.TEXT_TOWER = TINY.tower
    return starvsr(words)


def write_test_clip(path: Path, width: int, height: int, num_frames: int) -> None:
    """Write a moving pattern."""
    from starvsr.video.codec_pass import write_lossless

    rows, columns = np.mgrid[:height, :width]
    frames = [128 + 100 * np.sin((columns + 2 * rows + 3 * index) / 5) for index in range(num_frames)]
    colors = np.stack([np.stack([frame, frame[::-1], frame[:, ::-1]], -1) for frame in frames])
    write_lossless(path, colors.astype(np.uint8))


def table(told: dict[str, Any]) -> str:
    """Return the figures as a table of Markdown."""
    width, height, num_frames = told["clip"]
    lines = ["| stage | seconds | CPU seconds | peak memory |", "|---|---|---|---|"]
    for stage in told["stages"]:
        took = f"{stage['seconds']:.0f} | {stage['cpu_seconds']:.0f} | {stage['peak_bytes'] / GB:.1f} GB"
        lines.append(f"| {stage['name']} | {took} |")
    size = f"{told['network_bytes'] / GB:.2f} GB"
    lines += ["", f"{width}x{height}, {num_frames} frames, {told['threads']} threads; `.pt` file of {size} in float16."]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to make a temporary folder (default: the system's)")
    parser.add_argument("--tiny", action="store_true", help="small networks")
    parser.add_argument("--size", type=int, nargs=3, default=(32, 20, 3), metavar=("W", "H", "FRAMES"), help="input")
    parser.add_argument("--flags", default="", help="more flags for `starvsr upscale`, as one word")
    parser.add_argument("--out", type=Path, default=Path("results/star_end_to_end"))
    parser.add_argument("--write", type=Path, help="Markdown file to put the table into, between its marks")
    return parser


if __name__ == "__main__":
    main()
