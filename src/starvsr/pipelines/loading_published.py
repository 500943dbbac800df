"""Get the published STAR ready: find its files, fill its networks, encode the prompts, let the text tower go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.registry import PUBLISHED, PublishedSpec
from starvsr.models.sources import Component, get_component
from starvsr.models.temporal_vae import TemporalVae, TemporalVaeConfig
from starvsr.models.temporal_vae_codec import RELEASED_GROUP, TemporalVaeCodec
from starvsr.models.text_tokens import Tokenizer
from starvsr.models.text_tower import TextTower, TextTowerConfig, tower_weights
from starvsr.models.weights import build_empty, fit, known_digest, load_star_unet, read_tensors
from starvsr.models.weights.hub import Places, locate
from starvsr.pipelines.base import ModelTraits
from starvsr.pipelines.compute import choose_dtype, keep_freed_memory
from starvsr.pipelines.exact import Choices
from starvsr.pipelines.prompts import encode_prompts
from starvsr.pipelines.star_published import FAST_STEPS, PublishedStar, Sampling

TEXT_TOWER = TextTowerConfig()
SEGMENT, SEGMENT_OVERLAP, TILE_OVERLAP_PX = 24, 4, 32
_BYTES_PER_PIXEL = 20_000
"""Working memory per input pixel and frame in float32, roughly: the widest feed-forward, the decoder's maps."""

CHOICES = ("padding", "window_join", "decode_groups", "prompt_join", "rounding", "noise")
"""Options that are single choices."""

LOADED = ("weights", "precision", "window", "prompt", "negative_prompt", "guidance", "step_list", "exact", *CHOICES)
"""Options that are honoured when the model is loaded."""

ACCEPTED = ("seed", "steps", *LOADED)


@dataclass(frozen=True)
class PublishedFiles:
    """Where the parts of a published model lie: files, or folders that `starvsr models convert` wrote."""

    unet: Path
    vae: Path
    text: Path
    merges: Path


def find_files(spec: PublishedSpec, weights: Path | None = None, places: Places | None = None) -> PublishedFiles:
    """Find the parts on this machine. Never reaches the network.

    Args:
        spec: The model.
        weights: A checkpoint in place of the model's own network, or a converted folder; what a folder does not
            have is looked for as usual.
        places: Where to look.

    Raises:
        WeightsError: a part is missing; the message says how to get it.
    """
    folder = weights if weights is not None and weights.is_dir() else None

    def part(role: str, name: str, suffix: str) -> Path:
        if folder is not None and (folder / name).exists():
            return folder / name
        return _located(spec, role, suffix, places)

    unet = weights if weights is not None and folder is None else part("unet", "unet", "")
    return PublishedFiles(
        unet=unet,
        vae=part("vae", "vae", ""),
        text=part("text", "text_encoder", ""),
        merges=part("text", "tokenizer/merges.txt", "merges.txt"),
    )


def _located(spec: PublishedSpec, role: str, suffix: str, places: Places | None) -> Path:
    """Return a role's weights file, or the file that ends in ``suffix``, of the first component that is here."""
    components = [get_component(name) for names in [spec.parts[role]] for name in names]  # type: ignore[index]
    for component in components:
        found = locate(component, places)
        if found is not None:
            return next(path for name, path in found.items() if _is_wanted(name, suffix))
    raise WeightsError(
        f"{spec.name} needs {_named(components)}, not found in {(places or Places()).describe()}: "
        f"run `starvsr models fetch {spec.name}`"
    )


def _is_wanted(name: str, suffix: str) -> bool:
    return name.endswith(suffix) if suffix else name.endswith((".safetensors", ".pt", ".bin", ".pth"))


def _named(components: list[Component]) -> str:
    return " or ".join(f"{component.name} ({component.summary})" for component in components)


def load_published(
    name: str,
    *,
    weights: Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    prompt: str | None = None,
    negative_prompt: str | None = None,
    guidance: float = 7.5,
    window: int = 32,
    step_list: str | None = None,
    exact: bool = False,
    files: PublishedFiles | None = None,
    **choices: str | None,
) -> PublishedStar:
    """Build a published model.

    Args:
        name: "star-light" or "star-heavy".
        weights: Checkpoint or converted folder in place of the model's own.
        device: Where everything computes.
        precision: Number type of the network; "auto" is fp16 on CUDA, else fp32.
        prompt: What the video shows.
        negative_prompt: What is not wanted.
        guidance: Weight of the prompt.
        window: Frames that the network sees at once.
        step_list: "fast" or "normal".
        exact: The released code's choices.
        files: Where the parts lie, to spare looking for them.
        choices: Single choices of `Choices`, in place of the mode's.

    Raises:
        OptionError: a setting is wrong.
        WeightsError: a part is missing, damaged, or of another model.
    """
    spec = PUBLISHED[name]
    chosen = Choices.of(exact, **choices)
    dtype = choose_dtype(_number_type(precision, device), device)
    half = dtype if dtype == torch.float16 else None  # the decoder stays in float32 beside a bfloat16 network
    sampling = Sampling(
        guidance=guidance,
        window=window,
        step_list=step_list,  # type: ignore[arg-type]
        choices=chosen,
    )
    files = files or find_files(spec, weights)
    if device == "cpu":
        keep_freed_memory()
    contexts = _encode(files, prompt, negative_prompt, chosen, device)
    vae = _load_vae(files.vae).to(device)
    groups = {"group": RELEASED_GROUP, "overlap": 0} if chosen.decode_groups == "released" else {}
    codec = TemporalVaeCodec(vae, decode_dtype=half, **groups)
    network = load_star_unet(files.unet, spec.unet, dtype=dtype).requires_grad_(False).to(device)
    itself = chosen.rounding == "released"
    traits = ModelTraits(
        accepts=frozenset(ACCEPTED),
        overlap=SEGMENT_OVERLAP,
        tile_overlap=TILE_OVERLAP_PX,
        segment=SEGMENT,
        num_steps=FAST_STEPS,
        color="none" if itself else "adain",
        fixed_bytes=_bytes_of(network) + _bytes_of(vae),
        bytes_per_pixel=_BYTES_PER_PIXEL * dtype.itemsize // 4,
        digest=_digest(files.unet),
    )
    return PublishedStar(spec.name, network, codec, contexts, sampling, traits=traits, autocast=half if exact else None)


def _number_type(precision: str, device: str) -> str:
    """bfloat16 costs ten times the precision of float16 (docs/models.md), so it must be asked for."""
    if precision != "auto":
        return precision
    return "fp16" if device.startswith("cuda") else "fp32"


def _encode(
    files: PublishedFiles, prompt: str | None, negative_prompt: str | None, choices: Choices, device: str
) -> tuple[Tensor, Tensor]:
    """Encode the two prompts; the text tower is let go."""
    tokenizer = Tokenizer.read(files.merges)
    tensors = read_tensors(files.text)
    tower = build_empty(lambda: TextTower(TEXT_TOWER)).eval()
    fit(tower, tower_weights(tensors, TEXT_TOWER), files.text, dtype=torch.float32)
    tensors.clear()
    return encode_prompts(tower.to(device), tokenizer, prompt, negative_prompt, choices.prompt_join)


def _load_vae(path: Path) -> TemporalVae:
    """Load the autoencoder, from a file with its config.json beside it or from a folder, as float32."""
    config_file = (path if path.is_dir() else path.parent) / "config.json"
    config = TemporalVaeConfig()
    if config_file.is_file():
        try:
            config = TemporalVaeConfig.from_diffusers(json.loads(config_file.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"cannot read {config_file}: {error}; fetch the autoencoder again") from error
    vae = build_empty(lambda: TemporalVae(config))
    fit(vae, read_tensors(path), path, dtype=torch.float32)
    return vae


def _bytes_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def _digest(path: Path) -> str | None:
    """Return the digest of a file, noted when it was fetched or first used; folders have none."""
    return known_digest(path) if path.is_file() else None
