"""Checks of STAR on CogVideoX, networks and files: transformer, published checkpoint layout, VAE."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.folder import load_transformer, load_vae
from starvsr.models.cogvideox.sat import to_diffusers
from starvsr.models.cogvideox.sat_vae import read_sat_vae
from starvsr.models.cogvideox.transformer import StarCogVideoX, build_transformer
from starvsr.models.cogvideox.vae import decode, encode_moments
from starvsr.models.weights import fit
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case

FAMILY = "star-cogvideox"
ENGINE = "model.diffusion_model."
TOLERANCE = 1e-4
"""What the files call a safe threshold; the errors are listed in docs/models.md."""


def noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers that follow from a name: inputs as they are, weights after scaling."""
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weight of a state-dict key by the rule that the files state."""
    values = noise(name, shape)
    if len(shape) >= 2:
        return values / float(np.float32(math.sqrt(math.prod(shape[1:]))))
    return 1 + float(np.float32(0.1)) * values if name.endswith("weight") else float(np.float32(0.1)) * values


def transformer_config(stated: Mapping[str, Any]) -> TransformerConfig:
    """The sizes that a file states, under our names."""
    return TransformerConfig(
        num_attention_heads=stated["num_attention_heads"],
        attention_head_dim=stated["hidden_size"] // stated["num_attention_heads"],
        num_layers=stated["num_layers"],
        in_channels=2 * stated["in_channels"],
        out_channels=stated["out_channels"],
        time_embed_dim=stated["time_embed_dim"],
        text_embed_dim=stated["text_hidden_size"],
        max_text_seq_length=stated["text_length"],
        use_rotary_positional_embeddings=stated.get("pos") != "sincos",
    )


def sat_shapes(stated: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of SAT's transformer, written from the published list of keys."""
    width, heads, time = stated["hidden_size"], stated["num_attention_heads"], stated["time_embed_dim"]
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    layer("time_embed.0", time, width)
    layer("time_embed.2", time, time)
    layer("mixins.patch_embed.proj_sr", width, 2 * stated["in_channels"], 2, 2)
    layer("mixins.patch_embed.text_proj", width, stated["text_hidden_size"])
    layer("mixins.final_layer.norm_final", width)
    layer("mixins.final_layer.linear", 4 * stated["out_channels"], width)
    layer("mixins.final_layer.adaLN_modulation.1", 2 * width, time)
    layer("transformer.final_layernorm", width)
    for n in range(stated["num_layers"]):
        block = f"transformer.layers.{n}"
        layer(f"mixins.adaln_layer.adaLN_modulations.{n}.1", 12 * width, time)
        layer(f"mixins.adaln_layer.query_layernorm_list.{n}", width // heads)
        layer(f"mixins.adaln_layer.key_layernorm_list.{n}", width // heads)
        layer(f"{block}.input_layernorm", width)
        layer(f"{block}.post_attention_layernorm", width)
        layer(f"{block}.mlp.dense_h_to_4h", 4 * width, width)
        layer(f"{block}.mlp.dense_4h_to_h", width, 4 * width)
        shapes[f"{block}.spa_local.conv1.weight"] = (1, 2, 7, 7)
        shapes[f"{block}.temp_local.conv1.weight"] = (1, 2)
        for name, parts in (("attention.query_key_value", 3), ("attention.dense", 1)):
            rank, linear = stated["lora_r"], f"{block}.{name}"
            layer(f"{linear}.original" if rank else linear, parts * width, width)
            for part in range(parts if rank else 0):
                shapes[f"{linear}.matrix_A.{part}"] = (rank, width)
                shapes[f"{linear}.matrix_B.{part}"] = (width, rank)
    return shapes


def made_transformer(stated: Mapping[str, Any]) -> StarCogVideoX:
    """The network with the weights of a file, through the loader of published checkpoints."""
    config = transformer_config(stated)
    named = {name: fill(ENGINE + name, shape) for name, shape in sat_shapes(stated).items()}
    network = build_transformer(config)
    fit(network, to_diffusers(named, "golden weights", dtype=torch.float32), "golden weights")
    return network


def _libraries() -> None:
    if find_spec("diffusers") is None or find_spec("transformers") is None:
        raise CannotCheck("diffusers or transformers is not installed")


@check(FAMILY, lambda case: "weight_probe" in case.meta and "DiffusionTransformer" in case.what)
def check_transformer(case: Case) -> None:
    _libraries()
    case.part("weights", lambda: _compare_probe(case))
    network = made_transformer(case.meta["config"])
    with torch.inference_mode():
        for number, match in enumerate(case.names(r"T(\d+)_latents")):
            _compare_call(case, network, match[0].partition("_")[0], capture=number == 0)


def _compare_probe(case: Case) -> None:
    """The names, shapes and first values of all tensors are those recorded."""
    stated = {name: probe for name, probe in case.meta["weight_probe"].items() if ".pos_embed." not in name}
    stated.pop(f"{ENGINE}transformer.position_embeddings.weight", None)
    shapes = {ENGINE + name: list(shape) for name, shape in sat_shapes(case.meta["config"]).items()}
    case.exact("names and shapes of SAT", shapes, {name: probe["shape"] for name, probe in stated.items()})
    first = {name: fill(name, tuple(shape)).flatten()[:3].tolist() for name, shape in shapes.items()}
    case.exact("first values of weights", first, {name: probe["first"] for name, probe in stated.items()})


def _compare_call(case: Case, network: StarCogVideoX, name: str, *, capture: bool) -> None:
    latents, lq, text = case.inputs(f"{name}_latents", f"{name}_lq", "context")
    timestep = float(case.meta["checks"][name]["timestep"])
    both = torch.cat([latents, lq], 2).expand(2, -1, -1, -1, -1)
    block = network.transformer_blocks[0]
    seen: dict[str, Tensor] = {}
    hooks = _watch(block, seen) if capture else []
    out = network(both, torch.full((2,), timestep), torch.cat([torch.zeros_like(text), text]))
    for hook in hooks:
        hook.remove()
    case.compare(f"{name}_output", out, absolute=TOLERANCE)
    if not capture or "layer0_spa_in" not in case.tensors:
        return
    _, frames, _, height, width = latents.shape
    cells = (height // 2, width // 2)
    maps = {key: seen[key].unflatten(1, (frames, *cells)).flatten(0, 1).movedim(-1, 1) for key in ("in", "spatial")}
    rows = seen["token"].unflatten(1, (frames, *cells)).permute(0, 2, 3, 1, 4).flatten(0, 2)
    case.compare("layer0_spa_in", maps["in"], absolute=TOLERANCE)
    case.compare("layer0_spa_out", maps["spatial"], absolute=TOLERANCE)
    case.compare("layer0_temp_out", rows, absolute=TOLERANCE)
    case.compare("layer0_attn_in", torch.cat([seen["text"], seen["token"]], 1), absolute=TOLERANCE)
    case.compare("layer0_attn_out", seen["attention"], absolute=TOLERANCE)


def _watch(block: nn.Module, seen: dict[str, Tensor]) -> list[Any]:
    def spatial(_: nn.Module, given: Any, out: Any) -> None:
        seen["in"], seen["spatial"] = given[0], out

    def token(_: nn.Module, given: Any, out: Any) -> None:
        seen["token"] = out

    def attention(_: nn.Module, given: Any, named: Any, out: Any) -> None:
        seen["text"], seen["attention"] = named["encoder_hidden_states"], torch.cat([out[1], out[0]], 1)

    return [
        block.spa_local.register_forward_hook(spatial),
        block.temp_local.register_forward_hook(token),
        block.attn1.register_forward_hook(attention, with_kwargs=True),
    ]


@check(FAMILY, lambda case: case.what.startswith("Checkpoint folder in the layout SAT loads"))
def check_checkpoint(case: Case) -> None:
    """The stored folder gives the network of its weights' rule, and the numbers of the file that has the same."""
    _libraries()
    folder, stated = case.path.parent, case.meta["config"]
    loaded, made = load_transformer({"transformer": folder}).state_dict(), made_transformer(stated).state_dict()
    case.exact("names", sorted(loaded), sorted(made))
    flat = [torch.cat([tensors[name].flatten() for name in sorted(made)]) for tensors in (loaded, made)]
    case.compare_to("all weights", *flat, absolute=1e-6)
    config = transformer_config(stated)
    read = load_transformer({"transformer": folder}).config
    case.exact("sizes", dataclasses.replace(read, max_text_seq_length=config.max_text_seq_length), config)


@check(FAMILY, lambda case: "sat_to_diffusers" in case.meta and "VAE" in case.what)
def check_vae(case: Case) -> None:
    _libraries()
    named = {name: fill(f"first_stage_model.{name}", tuple(shape)) for name, shape in case.meta["shapes"].items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "3d-vae.pt"
        torch.save({"state_dict": {**named, "loss.logvar": torch.zeros(())}}, path)
        case.exact(
            "names of diffusers", sorted(read_sat_vae(path)), sorted(set(case.meta["sat_to_diffusers"].values()))
        )
        vae = load_vae({"vae": path}, dtype=torch.float32)
    for name, value in case.meta["diffusers_config"].items():
        case.exact(f"config {name}", list(vae.config[name]) if isinstance(value, list) else vae.config[name], value)
    case.exact("scaling factor", vae.config.scaling_factor, case.meta["config"]["scaling_factor"])
    with torch.inference_mode():
        mean, logvar = encode_moments(vae, case.input("video"))
        case.compare("moments", torch.cat([mean, logvar], 1), absolute=TOLERANCE)
        case.compare("decoded_chunked", decode(vae, case.input("latents")), absolute=TOLERANCE)
