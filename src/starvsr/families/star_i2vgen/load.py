"""Load the published STAR: find its files, fill its networks, encode the prompts, free the text tower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from starvsr.engine.allocator import keep_freed_memory
from starvsr.errors import WeightsError
from starvsr.families.precision import choose_dtype
from starvsr.families.star_i2vgen.model_folder import load_network
from starvsr.families.star_i2vgen.prompts import encode_prompts
from starvsr.families.star_i2vgen.reference import ReferenceQuirks
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.families.star_i2vgen.upscaler import QUIRKS, Contexts, Parts, StarI2VGen
from starvsr.models.int8 import to_int8
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig, tower_weights
from starvsr.models.text.clip_tokenizer import Tokenizer
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights import build_empty, fit, known_digest, read_tensors
from starvsr.models.weights.assign import release_pages
from starvsr.models.weights.components import get_component
from starvsr.models.weights.locate import ModelFiles, find_model
from starvsr.models.weights.releases import check_component

TEXT_TOWER = TextTowerConfig()


def load(
    spec: StarI2VGenSpec,
    *,
    weights: Path | str | None = None,
    device: str = "cpu",
    precision: str | None = None,
    compile: str | None = None,
    files: ModelFiles | None = None,
    first_prompt: str | None = None,
    **defaults: Any,
) -> StarI2VGen:
    """Load a published model.

    The prompts of the first job are encoded first and the text tower is freed, so that it is never in memory beside
    the network; other prompts load it again when a job asks for them.

    Args:
        spec: The model.
        weights: Checkpoint or converted folder in place of the model's own.
        device: Where everything computes.
        precision: Number type of the network; None or "auto" is fp16 on CUDA, else fp32; "int8" keeps its weights in 8
            bits and computes like "auto".
        compile: Mode of torch.compile.
        files: Where the parts lie, to spare looking for them.
        first_prompt: Prompt of the first job, where it was found in a file or given by a command; it is no default.
        defaults: Options of the model's jobs, see `ACCEPTED`, for jobs that do not name them.

    Raises:
        OptionError: a setting is wrong.
        WeightsError: a part is missing, damaged, or of another model.
    """
    chosen = ReferenceQuirks.of(bool(defaults.get("exact")), **{choice: defaults.get(choice) for choice in QUIRKS})
    in_8_bits = precision == "int8"
    dtype = choose_dtype(_number_type("auto" if in_8_bits or precision is None else precision, device), device)
    files = files or find_model(spec, None if weights is None else Path(weights))
    check_component(files["unet"], spec.name, [get_component(part).name for part in spec.parts["unet"]], may_read=True)
    if device == "cpu":
        keep_freed_memory()
    prompts = PromptEncoder(files, device)
    prompt = defaults.get("prompt") if first_prompt is None else first_prompt
    prompts(prompt, defaults.get("negative_prompt"), chosen.prompt_join)
    vae = load_vae(files.get("vae"), files.get("vae/config.json")).to(device)
    network = load_network(files["unet"], spec.unet, dtype).requires_grad_(False)
    arrange_weights(network)
    if in_8_bits:
        to_int8(network)
    given = {"weights": weights, "precision": precision, "compile": compile, **defaults}
    model = StarI2VGen(
        spec.name,
        Parts(network, vae, prompts, _digest(files["unet"])),
        device=device,
        compile=compile,
        loaded_with={key: value for key, value in given.items() if value is not None and value is not False},
    )
    model.pipeline(
        {} if first_prompt is None else {"prompt": first_prompt}
    )  # refuses defaults that contradict each other or the device
    return model


class PromptEncoder:
    """Encodes prompts: loads the text tower, frees it afterwards, and keeps the last result.

    Args:
        files: Where the text tower and the tokenizer lie.
        device: Where they compute.
    """

    def __init__(self, files: ModelFiles, device: str) -> None:
        self._files, self._device = files, device
        self._last: tuple[tuple[str | None, str | None, str], Contexts] | None = None

    def __call__(self, prompt: str | None, negative_prompt: str | None, join: str) -> Contexts:
        """Return both texts encoded, [1, 77, D] each.

        Raises:
            OptionError: a text is too long.
            WeightsError: the text tower is missing or damaged.
        """
        words = (prompt, negative_prompt, join)
        if self._last is None or self._last[0] != words:
            tokenizer, tower = load_text(self._files.get("text"), self._files.get("text/merges.txt"))
            tower = tower.to(self._device)
            self._last = words, encode_prompts(tower, tokenizer, prompt, negative_prompt, join)  # type: ignore[arg-type]
        return self._last[1]


def arrange_weights(network: torch.nn.Module) -> None:
    """Lay the weights of 3x3 convolutions out channels last, one after the other, as the features are.

    Otherwise the library reorders them in every call: on a CPU that doubles the time of small clips.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1):
            read = module.weight.data
            module.weight.data = read.contiguous(memory_format=torch.channels_last)
            release_pages(read)


def _number_type(precision: str, device: str) -> str:
    """bfloat16 costs ten times the precision of float16 (docs/models.md), so it must be asked for."""
    if precision != "auto":
        return precision
    return "fp16" if device.startswith("cuda") else "fp32"


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
