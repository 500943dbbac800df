"""The models of the family: STAR on CogVideoX-5B as its authors published it, and on CogVideoX-2B. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.errors import WeightsError
from starvsr.families.entry import Entry
from starvsr.families.star_cogvideox.settings import StarCogVideoXSettings
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.files import LAYOUT, sat_files
from starvsr.models.weights.components import Component, HubFile, PartName

if TYPE_CHECKING:
    from starvsr.models.weights.locate import ModelFiles

_LICENCE = "CogVideoX LICENSE"
_TERMS = (
    "free for research; commercial use needs a registration with Zhipu AI and has a limit of visits a month; "
    "some uses are forbidden. Read https://huggingface.co/THUDM/CogVideoX-5b/blob/main/LICENSE"
)
_SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
_NETWORKS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "5b": (
        (
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
            "diffusion_pytorch_model.safetensors.index.json",
        ),
        11_140_000_000,
    ),
    "2b": (("diffusion_pytorch_model.safetensors",), 3_390_000_000),
}
_TOKENIZER = ("spiece.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

_TRANSFORMER = Component(
    name="star-cogvideox-5b-transformer",
    role="transformer",
    summary="STAR on CogVideoX-5B for heavily degraded video: transformer, in SAT's layout",
    repos=("SherryX/STAR",),
    files=(HubFile("CogVideoX-5B-based/latest"), HubFile("CogVideoX-5B-based/1/mp_rank_00_model_states.pt")),
    bytes=12_200_000_000,
    licence=_LICENCE,
    layout="sat",
    terms=_TERMS,
)


def _stock(size: str, licence: str, terms: str) -> dict[str, Component]:
    """Return the parts of a CogVideoX: those that STAR takes as they are, and the transformer that it is made from."""

    def part(role: str, folder: str, summary: str, size_in_bytes: int, *names: str) -> Component:
        return Component(
            name=f"cogvideox-{size}-{role}",
            role=role,
            summary=f"CogVideoX-{size.upper()}: {summary}",
            repos=(f"zai-org/CogVideoX-{size}", f"THUDM/CogVideoX-{size}"),
            files=tuple(HubFile(f"{folder}/{name}") for name in names),
            bytes=size_in_bytes,
            licence=licence,
            layout="diffusers" if role == "vae" else "transformers",
            terms=terms,
        )

    networks, transformer_bytes = _NETWORKS[size]
    return {
        "transformer": part(
            "transformer",
            "transformer",
            "transformer, where the training of STAR starts",
            transformer_bytes,
            "config.json",
            *networks,
        ),
        "vae": part("vae", "vae", "causal 3D VAE", 431_000_000, "config.json", "diffusion_pytorch_model.safetensors"),
        "text": part("text", "text_encoder", "encoder of T5-v1.1-XXL", 9_525_000_000, "config.json", *_SHARDS),
        "tokenizer": part("tokenizer", "tokenizer", "tokenizer of T5", 800_000, *_TOKENIZER),
    }


_STOCK = {"5b": _stock("5b", _LICENCE, _TERMS), "2b": _stock("2b", "Apache-2.0", "")}


def _parts(*sizes: str) -> dict[str, tuple[PartName, ...]]:
    """Return the parts beside the transformer; text encoder and tokenizer are the same in both sizes."""
    return {
        "vae": (_STOCK[sizes[0]]["vae"],),
        "text": tuple(_STOCK[size]["text"] for size in sizes),
        "tokenizer": tuple(_STOCK[size]["tokenizer"] for size in sizes),
    }


@dataclass(frozen=True, kw_only=True)
class StarCogVideoXSpec(Entry):
    """A transformer, and the VAE and text encoder of the CogVideoX that it is made from."""

    settings: type = StarCogVideoXSettings
    loader: str = "starvsr.families.star_cogvideox.load:load"
    layout: Mapping[str, str] = field(default_factory=lambda: LAYOUT)
    weights_role: str = "transformer"
    folder: str | None = "starvsr.families.star_cogvideox.model_folder:folder_parts"
    folder_class: str = "StarCogVideoXUpscaler"
    marks: tuple[str, ...] = ("patch_embed.text_proj.weight", "transformer_blocks.0.spa_local.conv1.weight")
    scale: int = 4
    network: TransformerConfig
    """Sizes of its transformer."""

    def files_in(self, path: Path) -> ModelFiles:
        """Return its files in the layout of CogVideo's SAT code (`starvsr.models.cogvideox.files.sat_files`).

        Of a LoRA that was trained here they are the file and the CogVideoX that it belongs to, which lies around it or
        was fetched.

        Raises:
            WeightsError: The checkpoint is damaged or refused, or that CogVideoX is not on this machine.
        """
        found = sat_files(path)
        if not found:
            return self._files_of_lora(path) if path.is_file() else self._files_beside_lora(path)
        from starvsr.models.cogvideox.sat import has_rotary_positions, read_sat  # loads torch

        is_rotary = has_rotary_positions(read_sat(found["transformer"]))
        return found if is_rotary == self.network.use_rotary_positional_embeddings else {}

    def _files_beside_lora(self, folder: Path) -> ModelFiles:
        """Return the files of a model folder of CogVideoX that a LoRA was put into."""
        from starvsr.models.cogvideox.adapter import adapter_metadata  # loads torch

        if adapter_metadata(folder / LAYOUT["lora"]).get("model") != self.name:
            return {}
        return {name: folder / place for name, place in LAYOUT.items() if (folder / place).exists()}

    def _files_of_lora(self, path: Path) -> ModelFiles:
        from starvsr.models.cogvideox.adapter import adapter_metadata  # loads torch
        from starvsr.models.weights.cache import Places, locate

        if adapter_metadata(path).get("model") != self.name:
            return {}
        places = Places()
        for start in self.starts.values():
            found = locate(start, places) if isinstance(start, Component) else None
            if found is not None:
                return {"transformer": next(iter(found.values())).parent, "lora": path}
        names = " or ".join(self.starts)
        raise WeightsError(
            f"{path} is a LoRA for {names}, which is not on this machine (looked in {places.describe()}): get it with "
            f"`starvsr models fetch {next(iter(self.starts))}`; if it was trained on another one, put the file as "
            f"{LAYOUT['lora']} into that model folder and give the folder"
        )


STAR_COGVIDEOX_5B = StarCogVideoXSpec(
    name="star-cogvideox-5b",
    summary="the authors' STAR on CogVideoX-5B (5.57 B parameters) for heavily degraded video",
    licence=_LICENCE,
    parts={"transformer": (_TRANSFORMER,), **_parts("5b", "2b")},
    starts={"cogvideox-5b-transformer": _STOCK["5b"]["transformer"]},
    network=TransformerConfig.published_5b(),
)
STAR_COGVIDEOX_2B = StarCogVideoXSpec(
    name="star-cogvideox-2b",
    summary="STAR on CogVideoX-2B (1.69 B parameters): nobody has published one, so you train it",
    licence="Apache-2.0",
    parts=_parts("2b", "5b"),
    starts={"cogvideox-2b-transformer": _STOCK["2b"]["transformer"]},
    network=TransformerConfig.published_2b(),
    is_trained=False,
)
