"""The parts of StableVSR for training: the frozen ones, and what the TCM starts from."""

from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from starvsr.errors import DataError, WeightsError
from starvsr.families.stablevsr.diffusers_parts import library, load_network
from starvsr.families.stablevsr.load import tcm_files
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.models.weights.cache import Places
from starvsr.models.weights.locate import ModelFiles, find_model
from starvsr.training.config import TrainConfig
from starvsr.training.recipe import with_changes

OBJECTIVES = ("temporal-conditioning", "guidance-decoder")
"""What the parts of the model that can be trained are trained by, each in a run of its own."""


def check_objectives(config: TrainConfig, own: str) -> None:
    """Refuse stages that train something else than the first one.

    Args:
        config: the recipe.
        own: the objective of the part that trains.

    Raises:
        DataError: there is such a stage.
    """
    for number, stage in enumerate(config.stage):
        if stage.objective == own:
            continue
        if stage.objective in OBJECTIVES:
            raise DataError(
                f"stage.{number}.objective = {stage.objective!r} trains another part of {config.model} than stage 0: "
                "give it a recipe of its own"
            )
        known = " or ".join(f'"{name}"' for name in OBJECTIVES)
        raise DataError(f"{config.model} is trained by objective = {known}, each alone, not {stage.objective!r}")


@dataclass(frozen=True)
class TcmSizes:
    """What a TCM has beside the sizes of its UNet: `[network]` of a recipe."""

    conditioning_channels: tuple[int, ...] = (64, 128, 256)
    """Channels of the layers that read the neighbour's picture; one less than that is halved in size."""


def tcm_sizes(config: TrainConfig) -> TcmSizes:
    """Return the sizes that a recipe asks for.

    Raises:
        DataError: they do not bring a picture of four times the size down to the latents.
    """
    sizes = with_changes(TcmSizes(), config.network)
    channels = sizes.conditioning_channels
    if len(channels) != 3 or not all(isinstance(width, int) and width > 0 for width in channels):
        raise DataError(
            f"recipe key network.conditioning_channels must be three numbers of channels, not {list(channels)}: the "
            "picture is halved twice on the way to the latents"
        )
    return sizes


def find_fixed(spec: StableVSRSpec, config: TrainConfig) -> ModelFiles:
    """Return where the frozen parts lie, and the TCM beside them if there is one.

    ``config.models`` may be a model folder, or one that holds model folders by their names.

    Raises:
        WeightsError: a part is not on this machine; the message names the command that gets it.
    """
    own = Path(config.models).expanduser() if config.models else None
    if own is not None and not own.is_dir():
        raise WeightsError(f"recipe key models: there is no folder {own}")
    needed = spec if config.init == spec.name else _without_tcm(spec)
    if own is not None and (own / "model_index.json").is_file():
        return find_model(needed, own, Places(own))
    return find_model(needed, None, Places(own))


def _without_tcm(spec: StableVSRSpec) -> StableVSRSpec:
    return dataclasses.replace(spec, parts={role: names for role, names in spec.parts.items() if role != "tcm"})


def network_sizes(spec: StableVSRSpec, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Return the configurations of UNet ("unet") and autoencoder ("vae"), for a memory plan.

    Those of the parts that a recipe names; the published ones where it names none and they are not on this machine.

    Raises:
        WeightsError: the folder that the recipe names lacks a part.
    """
    try:
        files = find_fixed(spec, config)
    except WeightsError:
        if config.models:
            raise
        return {"unet": PUBLISHED_UNET, "vae": PUBLISHED_VAE}
    return {role: json.loads(files[f"{role}/config.json"].read_text(encoding="utf-8")) for role in ("unet", "vae")}


PUBLISHED_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 7,
    "out_channels": 4,
    "block_out_channels": (256, 512, 512, 1024),
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
    "up_block_types": (*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
    "only_cross_attention": (True, True, True, False),
    "cross_attention_dim": 1024,
    "attention_head_dim": 8,
    "use_linear_projection": True,
}
"""The UNet of the x4 upscaler without noise-level embedding; what is not named has the value that diffusers gives."""

PUBLISHED_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 2,
    "latent_channels": 4,
}


def build_tcm(unet: nn.Module, config: TrainConfig, files: ModelFiles, start: str) -> Any:
    """Build the TCM, a ``ControlNetModel``, on the CPU.

    Args:
        unet: the frozen one.
        config: the recipe.
        files: of the frozen parts, and of a released TCM.
        start: "" for a copy of the UNet's encoder that adds nothing yet, the model's name for the released TCM, else a
            folder with a TCM or a model folder.

    Raises:
        WeightsError: no TCM there, a damaged one, or one that does not fit the UNet.
        DataError: sizes for a TCM that has its own.
    """
    if not start:
        channels = tcm_sizes(config).conditioning_channels
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            return library("diffusers").ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    if config.network:
        raise DataError("recipe section network is for a fresh TCM, and this one starts from a TCM with its own sizes")
    found = files if start == config.model else tcm_files(Path(start).expanduser())
    loaded = load_network(found, "tcm")
    _check_fits(loaded, unet, found["tcm"])
    return copy.deepcopy(loaded)  # its weights change, and those of the file stay


def _check_fits(tcm: Any, unet: Any, path: Path) -> None:
    for key in ("block_out_channels", "layers_per_block", "cross_attention_dim", "in_channels"):
        has, wanted = tcm.config[key], unet.config[key]
        if _plain(has) != _plain(wanted):
            raise WeightsError(f"{path} has {key} {has} and the UNet {wanted}: it is the TCM of another UNet")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
