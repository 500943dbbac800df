"""The model of the family: StableVSR as its authors published it. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starvsr.families.entry import Entry
from starvsr.families.stablevsr.settings import StableVSRSettings
from starvsr.models.weights.components import Component, HubFile, PartName

REPOSITORY = "claudiom4sir/StableVSR"
_TENSORS = "diffusion_pytorch_model.safetensors"

LAYOUT = {
    "unet": f"unet/{_TENSORS}",
    "unet/config.json": "unet/config.json",
    "tcm": f"controlnet/{_TENSORS}",
    "tcm/config.json": "controlnet/config.json",
    "vae": f"vae/{_TENSORS}",
    "vae/config.json": "vae/config.json",
    "text": "text_encoder/model.safetensors",
    "text/config.json": "text_encoder/config.json",
    "tokenizer/vocab.json": "tokenizer/vocab.json",
    "tokenizer/merges.txt": "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json": "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json": "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json": "scheduler/scheduler_config.json",
    "guidance_decoder": f"guidance_decoder/{_TENSORS}",
    "guidance_decoder/config.json": "guidance_decoder/config.json",
}
"""Where the files lie in the published folder, and those that a trained one may have besides."""
OPTIONAL = ("guidance_decoder", "guidance_decoder/config.json")
"""What a model folder may lack."""


def _component(role: str, folder: str, summary: str, size: int, *names: str) -> Component:
    return Component(
        name=f"stablevsr-{role}",
        role=role,
        summary=summary,
        repos=(REPOSITORY,),
        files=tuple(HubFile(f"{folder}/{name}") for name in names),
        bytes=size,
        licence="OpenRAIL",
        layout="diffusers",
    )


def _parts() -> dict[str, tuple[PartName, ...]]:
    tensors = ("config.json", _TENSORS)
    tokens = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")
    return {
        "unet": (_component("unet", "unet", "StableVSR: UNet of the x4 upscaler, float32", 1_889_000_000, *tensors),),
        "tcm": (_component("tcm", "controlnet", "StableVSR: Temporal Conditioning Module", 831_000_000, *tensors),),
        "vae": (_component("vae", "vae", "StableVSR: autoencoder that enlarges by 4", 221_000_000, *tensors),),
        "text": (
            _component(
                "text", "text_encoder", "StableVSR: text tower", 1_361_000_000, "config.json", "model.safetensors"
            ),
        ),
        "tokenizer": (_component("tokenizer", "tokenizer", "StableVSR: tokenizer", 1_600_000, *tokens),),
        "scheduler": (
            _component("scheduler", "scheduler", "StableVSR: noise schedule", 1000, "scheduler_config.json"),
        ),
    }


@dataclass(frozen=True, kw_only=True)
class StableVSRSpec(Entry):
    """A folder of six components, which are fetched from the Hub or given with --weights."""

    settings: type = StableVSRSettings
    loader: str = "starvsr.families.stablevsr.load:load"
    layout: Mapping[str, str] = field(default_factory=lambda: LAYOUT)
    folder: str | None = "starvsr.families.stablevsr.model_folder:folder_parts"
    folder_class: str = "StableVSRPipeline"
    marks: tuple[str, ...] = (
        "conv_in.weight",
        "mid_block.attentions.0.proj_in.weight",
    )
    """Of its UNet and TCM, as of others that diffusers saves."""


STABLEVSR = StableVSRSpec(
    name="stablevsr",
    summary="the authors' StableVSR (0.68 B parameters): detail by image diffusion, consistent by optical flow",
    scale=4,
    licence="OpenRAIL",
    parts=_parts(),
)
