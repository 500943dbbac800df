"""The components of STAR on CogVideoX from their files: built empty, checked name by name, and filled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.adapter import read_adapted
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.files import LAYOUT, sat_files
from starvsr.models.cogvideox.libraries import library
from starvsr.models.cogvideox.network import Network, check_sizes, read_json, read_network
from starvsr.models.cogvideox.sat import has_rotary_positions, read_sat, states_file
from starvsr.models.cogvideox.sat_vae import SCALING_2B, SCALING_5B, read_sat_vae, vae_config
from starvsr.models.cogvideox.transformer import StarCogVideoX, build_transformer
from starvsr.models.weights import ModelFiles, build_empty, fit, read_tensors

_NO_ENCODER = ("decoder.", "lm_head.")
"""What a whole T5 has beside its encoder."""
_TIED = "encoder.embed_tokens.weight"
_EMBEDDING = "shared.weight"
_VAE_CLASS = "AutoencoderKLCogVideoX"


@dataclass(frozen=True, eq=False)
class Components:
    """What a model consists of.

    Attributes:
        transformer: Predicts the velocity.
        vae: AutoencoderKLCogVideoX; its scaling factor is ``vae.config.scaling_factor``.
        tokenizer: T5 tokenizer.
        text_encoder: T5EncoderModel.
        config: Sizes of the transformer.
    """

    transformer: StarCogVideoX
    vae: Any
    tokenizer: Any
    text_encoder: Any
    config: TransformerConfig


def load_components(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Components:
    """Load all components of a folder.

    Args:
        folder: A model folder with ``transformer``, ``vae``, ``text_encoder`` and ``tokenizer``, or one in the layout
            of CogVideo's SAT code (`sat_files`).
        device: Where they lie afterwards.
        dtype: Number type of the parameters; None keeps the files'. T5 has bfloat16 where float16 is asked for, in
            which it overflows.

    Raises:
        OptionError: diffusers, transformers or sentencepiece are not installed.
        WeightsError: A part is missing, damaged, or of another model.
    """
    files = files_of(folder)
    transformer = load_transformer(files, dtype=dtype).to(device)
    return Components(
        transformer=transformer,
        vae=load_vae(files, dtype=dtype).to(device),
        tokenizer=load_tokenizer(files),
        text_encoder=load_text_encoder(files, dtype=dtype).to(device),
        config=transformer.config,
    )


def files_of(folder: Path) -> ModelFiles:
    """Return the files of a folder in either layout.

    Raises:
        WeightsError: It is in neither.
    """
    there = {name: folder / place for name, place in LAYOUT.items() if (folder / place).exists()}
    found = there if (folder / "transformer" / "config.json").is_file() else sat_files(folder)
    if "transformer" not in found:
        raise WeightsError(
            f"{folder} holds no STAR on CogVideoX: give a folder with `transformer/config.json`, as `starvsr models "
            "convert` writes it, or one with `latest`, as its authors publish it"
        )
    return found


def network_of(
    files: ModelFiles, *, dtype: torch.dtype | None = None, config: TransformerConfig | None = None
) -> Network:
    """Read the transformer of a model; a LoRA beside it is merged.

    Args:
        files: Where the parts lie.
        dtype: See `read_network`.
        config: See `read_network`.

    Raises:
        WeightsError: It is missing, damaged, refused, or of other sizes.
    """
    path = _there(files, "transformer")
    if "lora" not in files:
        return read_network(path, dtype=dtype, config=config)
    found = read_adapted(path, files["lora"], config)
    if config is not None:
        check_sizes(found.config, config, path)
    return found


def load_transformer(
    files: ModelFiles, *, dtype: torch.dtype | None = None, config: TransformerConfig | None = None
) -> StarCogVideoX:
    """Load the transformer, on the CPU, in evaluation mode; every name must be there, and none may be left over.

    Args:
        files: Where the parts lie.
        dtype: Number type of the parameters; None keeps the file's.
        config: See `read_network`.

    Raises:
        OptionError: diffusers is not installed.
        WeightsError: It is missing, damaged, or of another model.
    """
    network = network_of(files, dtype=dtype, config=config)
    transformer = build_transformer(network.config)
    fit(transformer, network.tensors, files.get("lora", files["transformer"]), dtype=dtype)
    return transformer.requires_grad_(False)


def read_vae(files: ModelFiles, *, scaling_factor: float | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the VAE's configuration, as diffusers has it, and its tensors by diffusers' names.

    Args:
        files: Where the parts lie.
        scaling_factor: See `load_vae`.

    Raises:
        WeightsError: It is missing, damaged, or of another model.
    """
    path = _there(files, "vae")
    if "vae/config.json" not in files:
        tensors = read_sat_vae(path)
        return vae_config(tensors, path, scaling_factor or _scaling_beside(files)), tensors
    config = dict(read_json(files["vae/config.json"]))
    if config.setdefault("_class_name", _VAE_CLASS) != _VAE_CLASS:
        raise WeightsError(
            f"{files['vae/config.json']} describes a {config['_class_name']}, not the VAE of CogVideoX: give its folder"
        )
    return config, read_tensors(path)


def load_vae(files: ModelFiles, *, dtype: torch.dtype | None = None, scaling_factor: float | None = None) -> Any:
    """Load the VAE, an AutoencoderKLCogVideoX, on the CPU, in evaluation mode.

    Args:
        files: Where the parts lie.
        dtype: Number type of the parameters; None keeps the file's.
        scaling_factor: Of ``3d-vae.pt``, which states none; None is the 5B's, or the 2B's if the transformer beside it
            has no rotary positions.

    Raises:
        OptionError: diffusers is not installed.
        WeightsError: It is missing, damaged, or of another model.
    """
    config, tensors = read_vae(files, scaling_factor=scaling_factor)
    path, where = files["vae"], files.get("vae/config.json", files["vae"])
    make = library("diffusers").AutoencoderKLCogVideoX.from_config
    try:
        vae: nn.Module = build_empty(lambda: make(config))
    except Exception as error:  # whatever a wrong value leads to inside the library
        raise WeightsError(f"{where} describes no VAE of CogVideoX: {_line(error)}; get it again") from error
    fit(vae, tensors, path, dtype=dtype)
    return vae.eval().requires_grad_(False)


def load_text_encoder(files: ModelFiles, *, dtype: torch.dtype | None = None) -> Any:
    """Load the text encoder, a T5EncoderModel, on the CPU, in evaluation mode.

    Args:
        files: Where the parts lie.
        dtype: Number type of the parameters; None keeps the file's; float16 becomes bfloat16.

    Raises:
        OptionError: transformers is not installed.
        WeightsError: It is missing, damaged, or of another model.
    """
    transformers = library("transformers")
    path, where = _there(files, "text"), _there(files, "text/config.json")
    try:
        stated = {key: value for key, value in read_json(where).items() if key not in ("model_type", "dtype")}
        config = transformers.T5Config(**stated)
        encoder: nn.Module = build_empty(lambda: transformers.T5EncoderModel(config))
    except WeightsError:
        raise
    except Exception as error:  # whatever a wrong value leads to inside the library
        raise WeightsError(f"{where} describes no T5 encoder: {_line(error)}; get it again") from error
    tensors = encoder_tensors(path)
    tensors[_TIED] = tensors.get(_EMBEDDING, torch.empty(0))
    fit(encoder, tensors, path, dtype=torch.bfloat16 if dtype == torch.float16 else dtype)
    encoder.encoder.embed_tokens.weight = encoder.shared.weight  # type: ignore[union-attr]
    return encoder.eval().requires_grad_(False)


def encoder_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the encoder of a T5; those of a decoder beside it are left out.

    Raises:
        WeightsError: They are missing or damaged.
    """
    tensors = {name: tensor for name, tensor in read_tensors(path).items() if not name.startswith(_NO_ENCODER)}
    tied = tensors.pop(_TIED, None)
    if tied is not None:
        tensors.setdefault(_EMBEDDING, tied)
    return tensors


def load_tokenizer(files: ModelFiles) -> Any:
    """Load the tokenizer of T5.

    Raises:
        OptionError: transformers or sentencepiece are not installed.
        WeightsError: Its vocabulary is missing or damaged.
    """
    known = [name for name in ("tokenizer/spiece.model", "tokenizer/tokenizer.json") if name in files]
    if not known:
        raise WeightsError("the model has no tokenizer/spiece.model: fetch it again, or give a whole folder")
    transformers, _ = library("transformers"), library("sentencepiece")
    folder = files[known[0]].parent
    try:
        return transformers.T5Tokenizer.from_pretrained(str(folder))
    except Exception as error:  # each version of the library fails in its own way
        raise WeightsError(f"cannot read the tokenizer in {folder}: {_line(error)}; fetch it again") from error


def _scaling_beside(files: ModelFiles) -> float:
    path = files.get("transformer")
    if path is None:
        return SCALING_5B
    if path.is_dir() and (path / "config.json").is_file():
        return SCALING_5B if read_json(path / "config.json").get("use_rotary_positional_embeddings") else SCALING_2B
    return SCALING_5B if states_file(path) is None or has_rotary_positions(read_sat(path)) else SCALING_2B


def _there(files: ModelFiles, name: str) -> Path:
    if name not in files:
        raise WeightsError(f"the model has no {name}: fetch it again, or give a whole folder with --weights")
    return files[name]


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
