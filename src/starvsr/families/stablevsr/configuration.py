"""The configuration files of a StableVSR folder: read, and held against each other before any weights are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.errors import OptionError, WeightsError
from starvsr.models.weights.locate import ModelFiles

SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
"""Classes whose files describe the schedule that StableVSR samples by; the released code's own is a DDPMScheduler."""
SCALE = 4
_LQ_CHANNELS = 3
_SHARED_KEYS = ("block_out_channels", "layers_per_block", "down_block_types", "cross_attention_dim", "in_channels")
"""UNet and TCM must agree in these, or their maps have different sizes."""
_ADDED_INPUTS = ("class_embed_type", "num_class_embeds", "addition_embed_type", "encoder_hid_dim", "time_cond_proj_dim")


@dataclass(frozen=True, eq=False)
class Configuration:
    """What the configuration files of a folder say.

    Attributes:
        unet: Of ``UNet2DConditionModel``.
        tcm: Of ``ControlNetModel``.
        vae: Of ``AutoencoderKL``.
        text: Of ``CLIPTextModel``.
        scheduler: The noise schedule.
    """

    unet: Mapping[str, Any]
    tcm: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    scheduler: DDPM

    @classmethod
    def read(cls, files: ModelFiles) -> Configuration:
        """Read and check the files of a folder.

        Raises:
            WeightsError: A file is missing or damaged, or describes another model than StableVSR's, or two files do
                not belong together.
        """
        unet, tcm, vae, text = (read_json(files, f"{role}/config.json") for role in ("unet", "tcm", "vae", "text"))
        scheduler = read_scheduler(files)
        for role, config in (("unet", unet), ("tcm", tcm)):
            check_inputs(config, str(files[f"{role}/config.json"]))
        _check_decoder(vae, unet, files)
        _check_condition(tcm, files)
        for key in _SHARED_KEYS:
            if unet.get(key) != tcm.get(key):
                raise WeightsError(
                    f"{files['tcm/config.json']} has {key} {tcm.get(key)} and {files['unet/config.json']} "
                    f"{unet.get(key)}: the two are of different models; give parts that belong together"
                )
        if text.get("hidden_size") != unet.get("cross_attention_dim"):
            raise WeightsError(
                f"{files['text/config.json']} makes texts of width {text.get('hidden_size')} and "
                f"{files['unet/config.json']} reads {unet.get('cross_attention_dim')}: the two are of different models"
            )
        return cls(unet, tcm, vae, text, scheduler)


def read_json(files: ModelFiles, key: str) -> dict[str, Any]:
    """Return the entries of a JSON file of the model.

    Raises:
        WeightsError: It is missing or damaged.
    """
    if key not in files:
        raise WeightsError(f"the model has no {key}: fetch it again, or give a whole folder with --weights")
    try:
        entries = json.loads(files[key].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {files[key]}: {error}; fetch it again") from error
    if not isinstance(entries, dict):
        raise WeightsError(f"{files[key]} holds no settings: fetch it again")
    return entries


def read_scheduler(files: ModelFiles) -> DDPM:
    """Return the noise schedule of the model.

    Raises:
        WeightsError: Its file is missing or damaged, or of a kind that the package does not have.
    """
    entries = read_json(files, "scheduler/scheduler_config.json")
    path = files["scheduler/scheduler_config.json"]
    kind = entries.get("_class_name")
    if kind is not None and str(kind).rpartition(".")[2] not in SCHEDULERS:
        raise WeightsError(
            f"{path} is of a {kind}, and StableVSR samples by the schedule of a {' or '.join(SCHEDULERS)}: give the "
            "file of its own folder"
        )
    try:
        return DDPM(DDPMConfig.from_json(entries))
    except (OptionError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: {error}") from error


def check_inputs(config: Mapping[str, Any], path: str) -> None:
    """Refuse a UNet or TCM that reads other inputs than StableVSR's.

    Args:
        config: Its configuration.
        path: The file, for the message.

    Raises:
        WeightsError: It has a noise-level embedding or other inputs beside its 7 channels.
    """
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") is not None:
        raise WeightsError(
            f"{path} describes a network with noise-level embedding, as the original x4 upscaler has it: "
            "StableVSR's has none; give the folder of StableVSR"
        )
    for name in _ADDED_INPUTS:
        if config.get(name) is not None:
            raise WeightsError(
                f"{path} has {name} {config[name]}, and StableVSR's has none: give the folder of StableVSR"
            )
    if config.get("in_channels") != SCALE + _LQ_CHANNELS:
        raise WeightsError(f"{path} takes {config.get('in_channels')} channels in, and StableVSR's takes 7")


def _check_decoder(vae: Mapping[str, Any], unet: Mapping[str, Any], files: ModelFiles) -> None:
    path = files["vae/config.json"]
    levels = vae.get("block_out_channels")
    scale = 2 ** (len(levels) - 1) if isinstance(levels, list) and levels else None
    if scale != SCALE:
        raise WeightsError(f"{path} enlarges {scale or 'unknown'} times, and StableVSR's autoencoder {SCALE} times")
    if vae.get("latent_channels") != unet.get("out_channels"):
        raise WeightsError(
            f"{path} decodes {vae.get('latent_channels')} channels and {files['unet/config.json']} makes "
            f"{unet.get('out_channels')}: the two are of different models"
        )
    factor = vae.get("scaling_factor")
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not factor > 0:
        raise WeightsError(f"{path} has no scaling_factor above 0, but {factor}: fetch it again")


def _check_condition(tcm: Mapping[str, Any], files: ModelFiles) -> None:
    path = files["tcm/config.json"]
    levels = tcm.get("conditioning_embedding_out_channels")
    reduction = 2 ** (len(levels) - 1) if isinstance(levels, list) and levels else None
    if reduction != SCALE or tcm.get("conditioning_channels") != 3:
        raise WeightsError(
            f"{path} is conditioned on {tcm.get('conditioning_channels')} channels of {reduction or 'unknown'} "
            f"times the size, and StableVSR's TCM on 3 channels of {SCALE} times: it is another ControlNet"
        )
