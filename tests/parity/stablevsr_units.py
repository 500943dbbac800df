"""Checks of StableVSR's parts one by one: networks, text, frames in and out, the rule of weights, the folder."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from starvsr.diffusion.ddpm import DDPMConfig
from starvsr.families.stablevsr.load import encode_text
from starvsr.families.stablevsr.spec import LAYOUT, OPTIONAL
from starvsr.models.flow.raft import NUM_UPDATES
from starvsr.video.pixels import from_unit, to_unit
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case
from tests.parity.stablevsr import FAMILY, MODULE, fill, fill_all, tiny_networks

RAFT = 2e-3


@check(FAMILY, lambda case: case.stem.startswith("unit_models"))
def check_networks(case: Case) -> None:
    if find_spec("diffusers") is None or find_spec("transformers") is None:
        raise CannotCheck("diffusers or transformers is not installed")
    unet, tcm, vae = tiny_networks(case.meta)
    with torch.inference_mode():
        for name in _cases(case, "unet", "x"):
            case.part(name, partial(_compare_unet, case, name, unet, tcm))
        for name in _cases(case, "vae", "img"):
            case.part(name, partial(_compare_vae, case, name, vae))
        for name, first, compare in (
            ("vae_tile", "vae_tile_z", lambda: _compare_tiles(case, vae)),
            ("text", "text_empty_ids", lambda: _compare_text(case)),
            ("raft", "raft_img1", lambda: _compare_raft(case)),
        ):
            if first in case.tensors:
                case.part(name, compare)


def _cases(case: Case, kind: str, given: str) -> list[str]:
    return [match.group(1) for match in case.names(rf"({kind}\d+)_{given}")]


def _compare_unet(case: Case, name: str, unet: Any, tcm: Any) -> None:
    x, cond, text, t = case.inputs(f"{name}_x", f"{name}_cond", f"{name}_ehs", f"{name}_t")
    (plain,) = unet(x, t, text, return_dict=False)
    case.compare(f"{name}_out_plain", plain, absolute=MODULE)
    case.compare(f"{name}_cond_embedding", tcm.controlnet_cond_embedding(cond), absolute=MODULE)
    downs, middle = tcm(x, t, text, cond, conditioning_scale=_scale(case, name, tcm), return_dict=False)
    case.compare(f"{name}_mid", middle, absolute=MODULE)
    for index, down in enumerate(downs):
        case.compare(f"{name}_down{index}_l2", down.double().norm(), to_max=MODULE)
        if f"{name}_down{index}" in case.tensors:
            case.compare(f"{name}_down{index}", down, absolute=MODULE)
    (out,) = unet(
        x,
        t,
        text,
        down_block_additional_residuals=downs,
        mid_block_additional_residual=middle,
        return_dict=False,
    )
    case.compare(f"{name}_out_ctrl", out, absolute=MODULE)
    if f"{name}_out_class" in case.tensors:
        _compare_class_variant(case, name, (x, t, text))


def _scale(case: Case, name: str, tcm: Any) -> float:
    """Return the conditioning scale of a recorded call, which the file does not state: one number for 13 maps."""
    _, middle = tcm(*(case.input(f"{name}_{part}") for part in ("x", "t", "ehs", "cond")), return_dict=False)
    stored = case.input(f"{name}_mid")
    return round(float((stored * middle).sum() / middle.square().sum()), 3)


def _compare_class_variant(case: Case, name: str, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    """The original upscaler's UNet with noise levels: the package refuses it, the library that it uses has it."""
    from diffusers import UNet2DConditionModel

    stated = case.meta["cases"]["unet_class"]
    sizes = {**case.meta["tiny_config"]["unet"], "num_class_embeds": stated["num_class_embeds"]}
    unet: Any = UNet2DConditionModel(**sizes)
    fill_all(unet, case.meta.get("weight_salt", "") + stated["prefix"])
    (out,) = unet(*inputs, class_labels=case.input(f"{name}_class_labels"), return_dict=False)
    case.compare(f"{name}_out_class", out, absolute=MODULE)
    try:
        unet(*inputs)
        refused = ""
    except ValueError as error:
        refused = f"ValueError: {error}"
    case.exact(f"{name}: without labels", refused, case.meta["cases"]["unet_class_without_labels"])


def _compare_vae(case: Case, name: str, vae: Any) -> None:
    posterior = vae.encode(case.input(f"{name}_img")).latent_dist
    for part in ("mean", "logvar", "std"):
        case.compare(f"{name}_{part}", getattr(posterior, part), absolute=MODULE)
    case.compare(f"{name}_dec", vae.decode(case.input(f"{name}_z")).sample, absolute=MODULE)


def _compare_tiles(case: Case, vae: Any) -> None:
    """Decoding in tiles, which neither the method nor this package uses: the library's."""
    stated = case.meta["cases"]["vae_tiling"]
    z = case.input("vae_tile_z")
    case.compare("vae_tile_dec_plain", vae.decode(z).sample, absolute=MODULE)
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = stated["tile_sample_min_size"], stated["tile_latent_min_size"]
    vae.tile_overlap_factor = stated["overlap"]
    try:
        case.compare("vae_tile_dec", vae.decode(z).sample, absolute=MODULE)
    finally:
        vae.disable_tiling()


def _compare_text(case: Case) -> None:
    tower = compare_prompt(case, "text_empty_embeds", "text_empty_ids", "")
    (words, *_) = tower(case.input("text_words_ids"), return_dict=False)
    case.compare("text_words_embeds", words, absolute=MODULE)


def compare_prompt(case: Case, embedding: str, ids: str, prompt: str) -> nn.Module:
    """Compare the embedding and the tokens of a prompt; returns the text tower with its weights."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = case.path.parent / "tokenizer"
    if not tokenizer.is_dir():
        raise CannotCheck("there is no folder tokenizer beside the file")
    config = CLIPTextConfig(**case.meta["tiny_config"]["text"])
    tower = CLIPTextModel(config).eval()
    salt, entries = str(case.meta.get("weight_salt", "")), {}
    for name, entry in tower.state_dict().items():
        if entry.is_floating_point():
            published = f"text_model.{name.removeprefix('text_model.')}"
            entries[published] = fill(f"{salt}text_encoder.{published}", tuple(entry.shape))
            entry.copy_(entries[published])
    with tempfile.TemporaryDirectory() as folder:
        files = _text_files(Path(folder), config.to_dict(), entries, tokenizer)
        case.compare(embedding, encode_text(files, prompt), absolute=MODULE)
    found = CLIPTokenizer.from_pretrained(str(tokenizer))(prompt, padding="max_length", max_length=77).input_ids
    case.exact(ids, found, case.input(ids)[0].tolist())
    return tower


def _text_files(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], tokenizer: Path) -> dict[str, Path]:
    (folder / "config.json").write_text(json.dumps(config, default=str), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors")
    return {
        "text": folder / "model.safetensors",
        "text/config.json": folder / "config.json",
        "tokenizer/vocab.json": tokenizer / "vocab.json",
        "tokenizer/merges.txt": tokenizer / "merges.txt",
    }


def _compare_raft(case: Case) -> None:
    try:
        from torchvision.models.optical_flow import raft_large
    except Exception as error:  # beside a torch of another kind it fails in many ways
        for name in ("raft_img1", "raft_img2", "raft_flow_first", "raft_flow_last"):
            case.not_checked(name, f"torchvision does not import ({type(error).__name__})")
        return
    network: nn.Module = raft_large(weights=None)
    fill_all(network, case.meta.get("weight_salt", "") + "raft.")
    flows = network(*case.inputs("raft_img1", "raft_img2"), num_flow_updates=NUM_UPDATES)
    case.compare("raft_flow_first", flows[0], absolute=RAFT)
    case.compare("raft_flow_last", flows[-1], absolute=RAFT)


@check(FAMILY, lambda case: case.stem.startswith("unit_preprocess"))
def check_frames(case: Case) -> None:
    for row in case.meta["cases"]:
        key, stored = row["key"], case.input(f"{row['key']}_tensor")
        picture = Image.fromarray(case.input(f"{key}_in").numpy()).convert("RGB")
        if row["size_hw"] == row["tensor_hw"]:
            frames = to_unit(np.asarray(picture)[None], 8).transpose(0, 1)
            case.compare(f"{key}_tensor", frames, absolute=1e-6)
        else:
            why = "the reference shrinks the frame by Pillow; the package pads to a multiple of 4 and keeps all pixels"
            case.not_checked(f"{key}_tensor", why)
        large = F.interpolate(stored, scale_factor=4, mode="bicubic", align_corners=False)
        case.compare(f"{key}_bicubic4", large, absolute=1e-5)
        extremes = torch.tensor([row["bicubic_min"], row["bicubic_max"]])
        case.compare_to(f"{key}: not clamped", torch.stack([large.min(), large.max()]), extremes, absolute=1e-5)
    pixels = case.input("post_in")
    case.compare("post_np", (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1), absolute=1e-6)
    codes = torch.from_numpy(from_unit(pixels.clamp(-1, 1).transpose(0, 1), 8).astype(np.int16))
    case.compare("post_uint8", codes, absolute=1.0)
    share = (codes != case.input("post_uint8")).float().mean().item()
    case.exact("post_uint8 (share that differs below 1e-3)", share < 1e-3, True)


@check(FAMILY, lambda case: case.stem.startswith("unit_fill"))
def check_rule_of_weights(case: Case) -> None:
    for row in case.meta["weights"]:
        made = fill(row["name"], tuple(row["shape"])).double().flatten()
        found = torch.cat([made[:8], made.sum()[None], made.square().sum()[None]])
        wanted = torch.tensor([*row["first8"], row["sum"], row["sumsq"]], dtype=torch.float64)
        case.compare_to(f"weights: {row['name']}", found, wanted, absolute=1e-6, to_max=1e-7)
    for row in case.meta["noise"]:
        made = _noise(row["name"], tuple(row["shape"])).double().flatten()
        found, wanted = torch.cat([made[:8], made.sum()[None]]), torch.tensor([*row["first8"], row["sum"]])
        case.compare_to(f"noise: {row['name']}", found, wanted.double(), absolute=1e-5)


def _noise(name: str, shape: tuple[int, ...]) -> Tensor:
    import zlib

    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    return torch.from_numpy(generator.standard_normal(shape, np.float32))


@check(FAMILY, lambda case: "stock_scheduler" in case.meta)
def check_folder(case: Case) -> None:
    """The published folder: files that the package looks for, scheduler, names and shapes of all tensors."""
    for kind in ("stock_scheduler", "repo_scheduler"):
        stated = case.meta[kind]
        files = sorted(set(stated["files"]) - {"model_index.json"})
        needed = sorted(path for name, path in LAYOUT.items() if name not in OPTIONAL)
        case.exact(f"{kind}: files", needed, files)
        config = DDPMConfig.from_json(stated["scheduler_config"])
        found = {key: getattr(config, key) for key in stated["scheduler_config"] if hasattr(config, key)}
        case.exact(f"{kind}: scheduler", found, {key: stated["scheduler_config"][key] for key in found})
    if find_spec("diffusers") is None:
        raise CannotCheck("names and shapes: diffusers is not installed")
    sizes = case.meta["component_configs_0.21.1"]
    tiny = {"unet": _own(sizes["unet"]), "vae": _own(sizes["vae"])}
    tiny["controlnet_embed"] = sizes["controlnet"]["conditioning_embedding_out_channels"]
    for module, name in zip(tiny_networks({"tiny_config": tiny}), ("unet", "controlnet", "vae"), strict=True):
        shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
        case.exact(f"state_dict_shapes: {name}", shapes, case.meta["state_dict_shapes_tiny"][name])
    case.not_checked("state_dict_shapes: text_encoder", "its tensors are checked by unit_models, which runs it")


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a configuration says of the library."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@check(FAMILY, lambda case: case.stem == "INDEX" and "suggested_tolerance" in case.meta)
def check_index(case: Case) -> None:
    """The list of files is that of the folder; tolerances are those that the checks use."""
    names = sorted(case.meta["files"])
    missing = [name for name in names if not (case.path.parent / name).is_file()]
    case.exact("files: all there", missing, [])
    stated = case.meta["suggested_tolerance"]
    used = {"single_module": MODULE, "pipeline_x0_and_final_raw": MODULE, "guide": 2e-4, "raft_flow": RAFT}
    case.exact("suggested_tolerance", {key: stated[key] for key in used}, used)
