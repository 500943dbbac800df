"""The published layout of the transformer, SwissArmyTransformer's (SAT), and what its tensors are to ours.

A folder holds a file ``latest`` with the name of a folder, which holds ``mp_rank_00_model_states.pt``; the tensors lie
under ``module`` there. LoRA matrices, where they are not merged yet, are added to their linear layers in float32.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.weights.training_states import tensors_under

PREFIX = "model.diffusion_model."
"""Of the transformer's tensors in an engine that was saved as a whole."""
_OTHER_NETWORKS = ("conditioner.", "first_stage_model.")
_STATES = "mp_rank_00_model_states.pt"
_ALPHA = 1.0  # of LoRA; SAT's default, which no file states

_NOT_LEARNT = (
    "mixins.pos_embed.freqs_sin",
    "mixins.pos_embed.freqs_cos",
    "mixins.pos_embed.pos_embedding",
    "transformer.position_embeddings.weight",
)
"""Tables of positions, which are computed here, and one that the network never uses."""

_RENAMED = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "mixins.patch_embed.proj_sr": "patch_embed.proj",
    "mixins.patch_embed.text_proj": "patch_embed.text_proj",
    "mixins.final_layer.norm_final": "norm_out.norm",
    "mixins.final_layer.linear": "proj_out",
    "mixins.final_layer.adaLN_modulation.1": "norm_out.linear",
    "transformer.final_layernorm": "norm_final",
}
_RENAMED_IN_BLOCK = {
    "mixins.adaln_layer.query_layernorm_list.{n}": "attn1.norm_q",
    "mixins.adaln_layer.key_layernorm_list.{n}": "attn1.norm_k",
    "transformer.layers.{n}.input_layernorm": "norm1.norm",
    "transformer.layers.{n}.post_attention_layernorm": "norm2.norm",
    "transformer.layers.{n}.attention.dense": "attn1.to_out.0",
    "transformer.layers.{n}.mlp.dense_h_to_4h": "ff.net.0.proj",
    "transformer.layers.{n}.mlp.dense_4h_to_h": "ff.net.2",
    "transformer.layers.{n}.spa_local.conv1": "spa_local.conv1",
    "transformer.layers.{n}.temp_local.conv1": "temp_local.conv1",
}
_SPLIT_IN_BLOCK: Mapping[str, tuple[int, Mapping[str, tuple[int, ...]]]] = {
    "transformer.layers.{n}.attention.query_key_value": (
        3,
        {"attn1.to_q": (0,), "attn1.to_k": (1,), "attn1.to_v": (2,)},
    ),
    "mixins.adaln_layer.adaLN_modulations.{n}.1": (
        12,
        {"norm1.linear": (0, 1, 2, 6, 7, 8), "norm2.linear": (3, 4, 5, 9, 10, 11)},
    ),
}
"""Fused layers: into how many equal parts they are cut, and which parts make which layer."""

_NUMBER = re.compile(r"(?<=\.layers\.)\d+(?=\.)|(?<=_list\.)\d+(?=\.)|(?<=adaLN_modulations\.)\d+(?=\.)")
_LORA = re.compile(r"(?P<layer>.+)\.(?P<kind>original\.weight|original\.bias|matrix_A\.\d+|matrix_B\.\d+)")
_LORA_PARTS = {"query_key_value": 3, "dense": 1}


def states_file(path: Path) -> Path | None:
    """Return the file of states of a SAT checkpoint; None if the path is none.

    Args:
        path: The folder with ``latest``, or the file itself.

    Raises:
        WeightsError: ``latest`` names something that is not there, or the network is split over several files.
    """
    if path.is_file():
        return path if re.fullmatch(r"mp_rank_\d+_model_states\.pt", path.name) else None
    latest = path / "latest"
    if not latest.is_file():
        return None
    try:
        tag = latest.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {latest}: {error}; get the checkpoint again") from error
    if not re.fullmatch(r"[\w-]+", tag):
        raise WeightsError(f"{latest} must name a folder beside it, such as 1, not {tag[:40]!r}: get it again")
    file = path / tag / _STATES
    if not file.is_file():
        raise WeightsError(f"{path} lacks {tag}/{_STATES}, which {latest.name} names: get the checkpoint again")
    others = sorted(other.name for other in file.parent.glob("mp_rank_*_model_states.pt") if other != file)
    if others:
        raise WeightsError(f"{file.parent} holds parts of a network split over processes ({others[0]}): merge them")
    return file


def read_sat(path: Path) -> dict[str, Tensor]:
    """Return the transformer's tensors of a SAT checkpoint by SAT's names, without prefix.

    Text encoder and VAE, which a whole engine holds as well, are left out, and so are tables of positions.

    Args:
        path: The folder with ``latest``, or the file of states.

    Raises:
        WeightsError: It is missing, damaged, refused, or holds no transformer.
    """
    file = states_file(path)
    if file is None:
        raise WeightsError(f"{path} is no checkpoint of SAT: give the folder that holds `latest`")
    given = tensors_under(file, "module")
    is_engine = any(name.startswith(PREFIX) for name in given)
    tensors = {}
    for name, tensor in given.items():
        if name.startswith(_OTHER_NETWORKS):
            continue
        tensors[name.removeprefix(PREFIX) if is_engine else name] = tensor
    if not any(name.startswith("transformer.layers.") for name in tensors):
        raise WeightsError(f"{file} holds no transformer: give the checkpoint of STAR on CogVideoX")
    return tensors


def has_rotary_positions(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint has the rotary positions of the 5B, rather than the sin-cos ones of the 2B."""
    return "mixins.pos_embed.pos_embedding" not in tensors


def to_diffusers(tensors: Mapping[str, Tensor], where: Path | str, *, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Return the tensors under the names of the network; LoRA is merged. Unknown names are kept for `fit` to refuse.

    Args:
        tensors: By SAT's names, see `read_sat`.
        where: Their file, for messages.
        dtype: Number type to give merged layers; None is that of the layer.

    Raises:
        WeightsError: LoRA matrices are missing or do not fit.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in _merged(tensors, where, dtype):
        if name in _NOT_LEARNT:
            continue
        for new, part in _renamed(name, tensor):
            if new in found:
                raise WeightsError(f"{where} has {new} twice (once as {name}): get the checkpoint again")
            found[new] = part
    return found


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    layer, _, kind = name.rpartition(".")
    if layer in _RENAMED:
        yield f"{_RENAMED[layer]}.{kind}", tensor
        return
    number = _NUMBER.search(f"{layer}.")
    if number is None:
        yield name, tensor
        return
    like, block = _NUMBER.sub("{n}", f"{layer}.").removesuffix("."), f"transformer_blocks.{int(number[0])}"
    if like in _RENAMED_IN_BLOCK:
        yield f"{block}.{_RENAMED_IN_BLOCK[like]}.{kind}", tensor
    elif like in _SPLIT_IN_BLOCK and tensor.shape[0] % _SPLIT_IN_BLOCK[like][0] == 0:
        count, targets = _SPLIT_IN_BLOCK[like]
        parts = tensor.chunk(count)
        for target, places in targets.items():
            chosen = [parts[place] for place in places]
            yield f"{block}.{target}.{kind}", chosen[0] if len(chosen) == 1 else torch.cat(chosen)
    else:
        yield name, tensor


def _merged(
    tensors: Mapping[str, Tensor], where: Path | str, dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors, those of layers with LoRA merged; if one attention has LoRA, all must."""
    layers: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        match = _LORA.fullmatch(name)
        if match is None:
            yield name, tensor
        else:
            layers[match["layer"]][match["kind"]] = tensor
    plain = [name for name in tensors if re.fullmatch(r".*\.attention\.(query_key_value|dense)\.weight", name)]
    if layers and plain:
        raise WeightsError(
            f"{where} has LoRA matrices for {len(layers)} layers and none for {plain[0]} and {len(plain) - 1} more: "
            "get the checkpoint again"
        )
    for layer, parts in layers.items():
        count = _LORA_PARTS.get(layer.rpartition(".")[2], 0)
        yield f"{layer}.weight", _merged_weight(layer, parts, count, where, dtype)
        if "original.bias" in parts:
            yield f"{layer}.bias", parts["original.bias"]


def _merged_weight(
    layer: str, parts: Mapping[str, Tensor], count: int, where: Path | str, dtype: torch.dtype | None
) -> Tensor:
    """Return W + alpha / r * B A for each part of a layer, summed in float32 and rounded once."""
    numbers = range(count)
    wanted = {"original.weight", *(f"matrix_{kind}.{number}" for kind in "AB" for number in numbers)}
    problems = sorted(wanted - parts.keys()) or sorted(parts.keys() - wanted - {"original.bias"})
    if problems:
        word = "lacks" if problems[0] in wanted else "has an unexpected"
        raise WeightsError(f"{where} {word} {layer}.{problems[0]} of LoRA: get the checkpoint again")
    weight = parts["original.weight"]
    rows = [part.shape for part in weight.chunk(count)] if weight.shape[0] % count == 0 else []
    changes = []
    for number in numbers:
        first, last = parts[f"matrix_A.{number}"], parts[f"matrix_B.{number}"]
        rank = first.shape[0]
        if not rows or first.shape != (rank, rows[number][1]) or last.shape != (rows[number][0], rank):
            raise WeightsError(
                f"{where}: matrices {number} of LoRA, {list(first.shape)} and {list(last.shape)}, do not fit {layer}, "
                f"{list(weight.shape)}: get the checkpoint again"
            )
        changes.append(last.float() @ first.float() * (_ALPHA / rank))
    return (weight.float() + torch.cat(changes)).to(dtype or weight.dtype)


def config_of(tensors: Mapping[str, Tensor], where: Path | str) -> TransformerConfig:
    """Return the sizes of the network that a SAT checkpoint holds, from the shapes of its tensors.

    Raises:
        WeightsError: A tensor that tells them is missing or of a strange shape.
    """

    def shape(name: str, dimensions: int) -> torch.Size:
        if name not in tensors or tensors[name].ndim != dimensions:
            state = f"of shape {list(tensors[name].shape)}" if name in tensors else "missing"
            raise WeightsError(f"{where} does not fit STAR on CogVideoX: {name} is {state}; choose the right model")
        return tensors[name].shape

    patch = shape("mixins.patch_embed.proj_sr.weight", 4)
    head = shape("mixins.adaln_layer.query_layernorm_list.0.weight", 1)[0]
    numbers = {int(found[1]) for name in tensors if (found := re.match(r"transformer\.layers\.(\d+)\.", name))}
    missing = sorted(set(range(max(numbers, default=-1) + 1)) - numbers)
    if missing or not numbers:
        raise WeightsError(f"{where} has no block {missing[0] if missing else 0}: get the checkpoint again")
    rows = shape("mixins.final_layer.linear.weight", 2)[0]
    if patch[0] % head or rows % (patch[2] * patch[3]) or patch[2] != patch[3]:
        raise WeightsError(f"{where}: its sizes contradict each other; get the checkpoint again")
    return TransformerConfig.from_json(
        {
            "num_attention_heads": patch[0] // head,
            "attention_head_dim": head,
            "num_layers": len(numbers),
            "in_channels": patch[1],
            "out_channels": rows // patch[2] ** 2,
            "time_embed_dim": shape("time_embed.0.weight", 2)[0],
            "text_embed_dim": shape("mixins.patch_embed.text_proj.weight", 2)[1],
            "patch_size": patch[2],
            "use_rotary_positional_embeddings": has_rotary_positions(tensors),
        },
        where,
    )
