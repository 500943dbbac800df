"""Load StableVSR from the published folder layout, by today's diffusers and transformers (extra "stablevsr")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.engine.allocator import keep_freed_memory
from starvsr.errors import PromptTooLongError, WeightsError
from starvsr.families.precision import choose_dtype
from starvsr.families.stablevsr.configuration import Configuration, read_json
from starvsr.families.stablevsr.diffusers_parts import UNUSED, library, load_network
from starvsr.families.stablevsr.guidance_decoder import FOLDER, decoder_files, describe_decoder, load_decoder
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.families.stablevsr.upscaler import StableVSRUpscaler
from starvsr.models.flow.dis import load_dis
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.raft import check_raft, first_line, load_raft
from starvsr.models.int8 import to_int8
from starvsr.models.weights import build_empty, digest, fit, known_digest, read_tensors
from starvsr.models.weights.locate import ModelFiles, find_model

_TEXT_LENGTH = 77


def load(
    spec: StableVSRSpec,
    *,
    weights: Path | str | None = None,
    device: str = "cpu",
    precision: str | None = None,
    flow: str | None = None,
    tcm: Path | str | None = None,
    guidance_decoder: Path | str | None = None,
    first_prompt: str | None = None,
    **defaults: Any,
) -> StableVSRUpscaler:
    """Load the model for the registry.

    What is wrong with options, packages, configuration or weights is told before anything is computed.

    Args:
        spec: The entry.
        weights: A folder of the published layout in place of what `starvsr models fetch` got.
        device: Where everything computes.
        precision: "fp32", "fp16", "bf16", "auto" (None) for fp16 on CUDA, else fp32, or "int8", which keeps the weights
            of UNet and TCM in 8 bits and computes like "auto".
        flow: "raft" (None) or "dis".
        tcm: A folder with another TCM: of a ControlNet as diffusers saves it, or one with such a folder "controlnet".
        guidance_decoder: A folder with a small decoder for the guidance, or one with such a folder "guidance_decoder".
        first_prompt: Prompt of the first job, where it was found in a file or given by a command; it is no default.
        defaults: Options of the model's jobs, for jobs that do not name them.

    Raises:
        OptionError: diffusers, transformers or torchvision are missing, or the precision is not for this device.
        WeightsError: a part is missing, damaged, or of another model.
    """
    if weights is not None and not Path(weights).is_dir():
        raise WeightsError(f"{weights} is no folder: give the one that holds model_index.json, unet, controlnet, ...")
    in_8_bits = precision == "int8"
    dtype = choose_dtype(_number_type("auto" if in_8_bits or precision is None else precision, device), device)
    files = dict(find_model(spec, None if weights is None else Path(weights)))
    if tcm is not None:
        files |= tcm_files(Path(tcm))
    if guidance_decoder is not None:
        files |= decoder_files(Path(guidance_decoder))
    for package in ("diffusers", "transformers"):
        library(package)
    estimator: FlowEstimator | None = None
    if flow == "dis":
        estimator = load_dis()
    else:
        check_raft()
    configuration = Configuration.read(files)
    small = None if guidance_decoder is None else describe_decoder(files, configuration.vae)
    if device == "cpu":
        keep_freed_memory()
    unet, control = (load_network(files, role, dtype) for role in ("unet", "tcm"))
    vae = load_network(files, "vae")
    decoder = None if small is None else load_decoder(files, small, vae, dtype)
    if in_8_bits:
        to_int8(unet)
        to_int8(control)
    texts = TextEncoder(files)
    networks = DiffusersNetworks(unet=unet, tcm=control, vae=vae, text=texts(""), guidance_decoder=decoder)
    given = {"weights": weights, "precision": None if precision == "auto" else precision, "flow": flow, "tcm": tcm}
    given["guidance_decoder"] = guidance_decoder
    model = StableVSRUpscaler(
        spec.name,
        networks,
        configuration.scheduler,
        estimator or load_raft(),
        device=device,
        encode_text=texts,
        digest=_digest(
            files, [role for role, given in (("tcm", tcm), (FOLDER, guidance_decoder)) if given is not None]
        ),
        loaded_with={
            name: value for name, value in {**given, **defaults}.items() if value is not None and value is not False
        },
    )
    model.pipeline({} if first_prompt is None else {"prompt": first_prompt})  # refuses defaults that contradict
    return model


def tcm_files(folder: Path) -> ModelFiles:
    """Return configuration and tensors of a trained TCM: in the folder, or in its folder "controlnet".

    Raises:
        WeightsError: There are none.
    """
    for place in (folder / "controlnet", folder):
        for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"):
            if (place / name).is_file() and (place / "config.json").is_file():
                return {"tcm": place / name, "tcm/config.json": place / "config.json"}
    raise WeightsError(
        f"no TCM in {folder}, which holds no Temporal Conditioning Module: give a folder with config.json and "
        "diffusion_pytorch_model.safetensors, or one with such a folder controlnet"
    )


class TextEncoder:
    """Encodes prompts, float32 [1, 77, C] on the CPU; the text tower is loaded for each new one and freed again.

    Args:
        files: Where the text tower and the tokenizer lie.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompt: str) -> Tensor:
        """Return the embedding of a prompt.

        Raises:
            PromptTooLongError: It has more tokens than the text tower reads.
        """
        if prompt not in self._known:
            self._known[prompt] = encode_text(self._files, prompt)
        return self._known[prompt]


def _number_type(precision: str, device: str) -> str:
    """bfloat16 costs precision (docs/models.md), so it must be asked for."""
    if precision != "auto":
        return precision
    return "fp16" if device.startswith("cuda") else "fp32"


def _digest(files: ModelFiles, others: Sequence[str]) -> str:
    """Return the SHA-256 of the UNet's weights, or what follows from those of all networks with others beside it."""
    digests = [known_digest(files[role]) or digest(files[role]) for role in ("unet", *others)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def encode_text(files: ModelFiles, prompt: str) -> Tensor:
    """Return the embedding of a prompt, float32 [1, 77, C], on the CPU; the text tower is freed again.

    Raises:
        OptionError: transformers is not installed.
        PromptTooLongError: The prompt has more tokens than the text tower reads.
        WeightsError: text tower or tokenizer are missing or damaged.
    """
    transformers = library("transformers")
    try:
        config = transformers.CLIPTextConfig(**read_json(files, "text/config.json"))
        tower = build_empty(lambda: transformers.CLIPTextModel(config)).eval()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{files['text/config.json']} describes no text tower: {first_line(error)}") from error
    wanted = tower.state_dict()
    tensors = {
        name if name in wanted else name.removeprefix("text_model."): tensor
        for name, tensor in read_tensors(files["text"]).items()
        if name not in UNUSED
    }
    fit(tower, tensors, files["text"], dtype=torch.float32)
    _number_positions(tower)
    tokenizer = _tokenizer(files)
    length = len(tokenizer(prompt).input_ids)
    if length > _TEXT_LENGTH:
        raise PromptTooLongError(prompt, length - 2, _TEXT_LENGTH - 2)
    ids = tokenizer(prompt, padding="max_length", max_length=_TEXT_LENGTH, return_tensors="pt").input_ids
    with torch.inference_mode():
        embedding: Tensor = tower(ids, return_dict=False)[0]
    return embedding.clone()


def _number_positions(tower: nn.Module) -> None:
    """Fill the buffers that are no weights: the numbers of the positions."""
    for owner in tower.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(owner, name, torch.arange(buffer.shape[-1]).expand(buffer.shape).clone())


def _tokenizer(files: ModelFiles) -> Any:
    for name in ("tokenizer/vocab.json", "tokenizer/merges.txt"):
        if name not in files:
            raise WeightsError(f"the model has no {name}: fetch it again, or give a whole folder with --weights")
    folder = files["tokenizer/vocab.json"].parent
    try:
        return library("transformers").CLIPTokenizer.from_pretrained(str(folder))
    except Exception as error:  # each version of the library fails in its own way
        raise WeightsError(f"cannot read the tokenizer in {folder}: {first_line(error)}; fetch it again") from error
