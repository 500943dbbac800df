"""Get the published STAR ready: find its files, fill its networks, encode the prompts, let the text tower go."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from starvsr.engine.allocator import keep_freed_memory
from starvsr.engine.upscaler import ModelTraits
from starvsr.errors import WeightsError
from starvsr.families.precision import choose_dtype
from starvsr.families.star_i2vgen.pipeline import PublishedStar
from starvsr.families.star_i2vgen.prompts import encode_prompts
from starvsr.families.star_i2vgen.reference import Choices
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling
from starvsr.models.int8 import to_int8, weight_bytes
from starvsr.models.registry import PUBLISHED
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig, tower_weights
from starvsr.models.text.clip_tokenizer import Tokenizer
from starvsr.models.vae.codec import RELEASED_GROUP, TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights import build_empty, fit, known_digest, load_star_unet, read_tensors
from starvsr.models.weights.assign import forget
from starvsr.models.weights.locate import ModelFiles, find_model
from starvsr.quantities import parse_interval

TEXT_TOWER = TextTowerConfig()
SEGMENT, SEGMENT_OVERLAP, TILE_OVERLAP_PX = 24, 4, 32
CHOICES = ("padding", "window_join", "decode_groups", "prompt_join", "rounding", "noise")
"""Options that are single choices."""

SAMPLING = ("guidance", "guidance_interval", "guidance_pair", "window", "step_list", "feature_cache")
"""Options that say how the network is sampled."""

LOADED = (
    "weights",
    "precision",
    "prompt",
    "negative_prompt",
    "attention",
    "compile",
    "exact",
    *SAMPLING,
    *CHOICES,
)
"""Options that are honoured when the model is loaded."""

ACCEPTED = ("seed", "steps", *LOADED)


def load_published(
    name: str,
    *,
    weights: Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    prompt: str | None = None,
    negative_prompt: str | None = None,
    guidance: float = 7.5,
    guidance_interval: str | None = None,
    guidance_pair: str = "apart",
    window: int = 32,
    step_list: str | None = None,
    feature_cache: int = 1,
    attention: str = "auto",
    compile: str | None = None,
    exact: bool = False,
    files: ModelFiles | None = None,
    **choices: str | None,
) -> PublishedStar:
    """Build a published model.

    Args:
        name: "star-light" or "star-heavy".
        weights: Checkpoint or converted folder in place of the model's own.
        device: Where everything computes.
        precision: Number type of the network; "auto" is fp16 on CUDA, else fp32; "int8" keeps its weights in 8 bits and
            computes like "auto".
        prompt: What the video shows.
        negative_prompt: What is not wanted.
        guidance: Weight of the prompt.
        guidance_interval: Timesteps that are guided, as "300:700"; None guides all.
        guidance_pair: Both prompts "together" in one call of the network, or "apart".
        window: Frames that the network sees at once.
        step_list: "fast" or "normal".
        feature_cache: Steps from one whole computation of the network to the next.
        attention: Kernel of the network's attention.
        compile: Mode of torch.compile.
        exact: The released code's choices.
        files: Where the parts lie, to spare looking for them.
        choices: Single choices of `Choices`, in place of the mode's.

    Raises:
        OptionError: a setting is wrong.
        WeightsError: a part is missing, damaged, or of another model.
    """
    spec = PUBLISHED[name]
    chosen = Choices.of(exact, **choices)
    in_8_bits = precision == "int8"
    dtype = choose_dtype(_number_type("auto" if in_8_bits else precision, device), device)
    half = dtype if dtype == torch.float16 else None  # the decoder stays in float32 beside a bfloat16 network
    sampling = Sampling(
        guidance=guidance,
        guidance_interval=None if guidance_interval is None else parse_interval(guidance_interval),
        guidance_pair=guidance_pair,  # type: ignore[arg-type]
        window=window,
        step_list=step_list,  # type: ignore[arg-type]
        feature_cache=feature_cache,
        choices=chosen,
    )
    files = files or find_model(spec, weights)
    if device == "cpu":
        keep_freed_memory()
    contexts = _encode(files, prompt, negative_prompt, chosen, device)
    vae = load_vae(files.vae, files.vae_config).to(device)
    groups = {"group": RELEASED_GROUP, "overlap": 0} if chosen.decode_groups == "released" else {}
    codec = TemporalVaeCodec(vae, decode_dtype=half, **groups)
    network = load_star_unet(files.unet, spec.unet, dtype=dtype).requires_grad_(False)
    arrange_weights(network)
    if in_8_bits:
        to_int8(network)
    itself = chosen.rounding == "released"
    traits = ModelTraits(
        accepts=frozenset(ACCEPTED),
        overlap=SEGMENT_OVERLAP,
        tile_overlap=TILE_OVERLAP_PX,
        segment=SEGMENT,
        num_steps=FAST_STEPS,
        color="none" if itself else "adain",
        write_behind=SEGMENT,
        fixed_bytes=weight_bytes(network) + weight_bytes(vae),
        digest=_digest(files.unet),
    )
    return PublishedStar(
        spec.name,
        network,
        codec,
        contexts,
        sampling,
        traits=traits,
        autocast=half if exact else None,
        attention=attention,
        compile=compile,
        device=device,
    )


def arrange_weights(network: torch.nn.Module) -> None:
    """Lay the weights of 3x3 convolutions out channels last, one after the other, as the features are.

    Otherwise the library reorders them in every call: on a CPU that doubles the time of small clips.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1):
            read = module.weight.data
            module.weight.data = read.contiguous(memory_format=torch.channels_last)
            forget(read)


def _number_type(precision: str, device: str) -> str:
    """bfloat16 costs ten times the precision of float16 (docs/models.md), so it must be asked for."""
    if precision != "auto":
        return precision
    return "fp16" if device.startswith("cuda") else "fp32"


def _encode(
    files: ModelFiles, prompt: str | None, negative_prompt: str | None, choices: Choices, device: str
) -> tuple[Tensor, Tensor]:
    """Encode the two prompts; the text tower is let go."""
    tokenizer, tower = load_text(files.text, files.merges)
    return encode_prompts(tower.to(device), tokenizer, prompt, negative_prompt, choices.prompt_join)


def load_text(text: Path | None, merges: Path | None) -> tuple[Tokenizer, TextTower]:
    """Load tokenizer and text tower, float32, in evaluation mode.

    Raises:
        WeightsError: missing or damaged.
    """
    tokenizer = Tokenizer.read(_there(merges, "tokenizer"))
    path = _there(text, "text tower")
    tower = build_empty(lambda: TextTower(TEXT_TOWER)).eval()
    fit(tower, tower_weights(read_tensors(path), TEXT_TOWER), path, dtype=torch.float32)
    return tokenizer, tower


def load_vae(weights: Path | None, config_file: Path | None) -> TemporalVae:
    """Load the autoencoder as float32; without a configuration it has the published size.

    Raises:
        WeightsError: missing or damaged.
    """
    config = TemporalVaeConfig()
    if config_file is not None:
        try:
            config = TemporalVaeConfig.from_diffusers(json.loads(config_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"cannot read {config_file}: {error}; fetch the autoencoder again") from error
    path = _there(weights, "autoencoder")
    vae = build_empty(lambda: TemporalVae(config))
    fit(vae, read_tensors(path), path, dtype=torch.float32)
    return vae


def _there(path: Path | None, part: str) -> Path:
    if path is None:
        raise WeightsError(f"the model has no {part}: give its files, or fetch them with `starvsr models fetch`")
    return path


def _digest(path: Path) -> str | None:
    """Return the digest of a file, noted when it was fetched or first used; folders have none."""
    return known_digest(path) if path.is_file() else None
