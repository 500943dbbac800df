"""Load STAR on CogVideoX: find its files, fill its networks, encode prompts, free the text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.engine.allocator import keep_freed_memory
from starvsr.families.precision import choose_dtype
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.families.star_cogvideox.upscaler import Parts, StarCogVideoXUpscaler
from starvsr.models.cogvideox.folder import load_text_encoder, load_tokenizer, load_transformer, load_vae
from starvsr.models.cogvideox.sat import states_file
from starvsr.models.cogvideox.text import encode_prompt
from starvsr.models.int8 import to_int8, weight_bytes
from starvsr.models.weights import known_digest
from starvsr.models.weights.locate import ModelFiles, find_model
from starvsr.offload.oom import empty_cache, free_bytes

SPARE = 1.2
"""Bytes free on a device for each byte of the text encoder, or prompts are encoded on the CPU."""


def load(
    spec: StarCogVideoXSpec,
    *,
    weights: Path | str | None = None,
    device: str = "cpu",
    precision: str | None = None,
    first_prompt: str | None = None,
    **defaults: Any,
) -> StarCogVideoXUpscaler:
    """Load the model for the registry.

    The prompts of the first job are encoded first and the text encoder is freed, so that it is never in memory beside
    the transformer; other prompts load it again when a job asks for them.

    Args:
        spec: The entry.
        weights: A model folder, a folder or file as the authors publish it, or a bare file of tensors.
        device: Where everything computes.
        precision: "fp32", "fp16", "bf16"; "auto" (None) on CUDA is what the CogVideoX was trained in, bf16 for the 5B
            and fp16 for the 2B, else fp32; "int8" keeps the transformer's weights in 8 bits and computes like "auto".
        first_prompt: Prompt of the first job, where it was found in a file or given by a command; it is no default.
        defaults: Options of the model's jobs, for jobs that do not name them.

    Raises:
        OptionError: A package is missing, a setting is wrong, or the precision is not for this device.
        PromptTooLongError: A prompt has more tokens than the text encoder reads.
        WeightsError: A part is missing, damaged, or of another model.
    """
    in_8_bits = precision == "int8"
    dtype = choose_dtype(_number_type(spec, "auto" if in_8_bits or precision is None else precision, device), device)
    files = find_model(spec, None if weights is None else Path(weights))
    if device == "cpu":
        keep_freed_memory()
    encode = PromptEncoder(files, device)
    prompt = defaults.get("prompt") if first_prompt is None else first_prompt
    encode.remember(prompt or "", *filter(None, [defaults.get("negative_prompt")]))
    transformer = load_transformer(files, dtype=dtype, config=spec.network)
    if in_8_bits:
        to_int8(transformer)
    vae = load_vae(files, dtype=dtype)
    given = {"weights": weights, "precision": None if precision == "auto" else precision, **defaults}
    model = StarCogVideoXUpscaler(
        spec.name,
        Parts(transformer, vae, encode, _digest(files.get("lora", files["transformer"]))),
        device=device,
        loaded_with={name: value for name, value in given.items() if value is not None and value is not False},
    )
    model.pipeline({} if first_prompt is None else {"prompt": first_prompt})  # refuses defaults that contradict
    return model


def _number_type(spec: StarCogVideoXSpec, precision: str, device: str) -> str:
    if precision != "auto":
        return precision
    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if spec.network.use_rotary_positional_embeddings else "fp16"


def _digest(path: Path) -> str | None:
    """Return the digest of the file of weights, noted when it was fetched or first used; folders have none."""
    file = states_file(path) or path
    return known_digest(file) if file.is_file() else None


class PromptEncoder:
    """Encodes prompts; the text encoder is loaded for those that are new and freed again.

    Args:
        files: Where text encoder and tokenizer lie.
        device: Where it computes, if it fits; otherwise the CPU.
    """

    def __init__(self, files: ModelFiles, device: str) -> None:
        self._files, self._device = files, torch.device(device)
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompt: str) -> Tensor:
        """Return the encoding of a prompt, [1, 226, C] on the CPU.

        Raises:
            OptionError: It is too long, or transformers or sentencepiece are not installed.
            WeightsError: The text encoder is missing or damaged.
        """
        self.remember(prompt)
        return self._known[prompt]

    def remember(self, *prompts: str) -> None:
        """Encode prompts that will be asked for; the text encoder is loaded once for all of them.

        Raises:
            OptionError: One is too long, or transformers or sentencepiece are not installed.
            WeightsError: The text encoder is missing or damaged.
        """
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if not new:
            return
        tokenizer, encoder = load_tokenizer(self._files), load_text_encoder(self._files)
        encoder = encoder.to(self._place(encoder))
        for prompt in new:
            self._known[prompt] = encode_prompt(tokenizer, encoder, prompt).cpu()
        del encoder
        empty_cache(self._device)

    def _place(self, encoder: nn.Module) -> torch.device:
        free = free_bytes(self._device)
        fits = free is None or free >= SPARE * weight_bytes(encoder)
        return self._device if fits else torch.device("cpu")
