"""The models of the family: STAR on CogVideoX-5B as its authors published it, and on CogVideoX-2B. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Return the parts that STAR takes from CogVideoX as they are."""

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

    return {
        "vae": part("vae", "vae", "causal 3D VAE", 431_000_000, "config.json", "diffusion_pytorch_model.safetensors"),
        "text": part("text", "text_encoder", "encoder of T5-v1.1-XXL", 9_525_000_000, "config.json", *_SHARDS),
        "tokenizer": part("tokenizer", "tokenizer", "tokenizer of T5", 800_000, *_TOKENIZER),
    }


def _parts(*sizes: str) -> dict[str, tuple[PartName, ...]]:
    """Return the parts beside the transformer; text encoder and tokenizer are the same in both sizes."""
    stock = {"5b": _stock("5b", _LICENCE, _TERMS), "2b": _stock("2b", "Apache-2.0", "")}
    own = stock[sizes[0]]
    return {
        "vae": (own["vae"],),
        "text": tuple(stock[size]["text"] for size in sizes),
        "tokenizer": tuple(stock[size]["tokenizer"] for size in sizes),
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

        Raises:
            WeightsError: The checkpoint is damaged or refused.
        """
        found = sat_files(path)
        if not found:
            return {}
        from starvsr.models.cogvideox.sat import has_rotary_positions, read_sat  # loads torch

        is_rotary = has_rotary_positions(read_sat(found["transformer"]))
        return found if is_rotary == self.network.use_rotary_positional_embeddings else {}


STAR_COGVIDEOX_5B = StarCogVideoXSpec(
    name="star-cogvideox-5b",
    summary="the authors' STAR on CogVideoX-5B (5.57 B parameters) for heavily degraded video",
    licence=_LICENCE,
    parts={"transformer": (_TRANSFORMER,), **_parts("5b", "2b")},
    network=TransformerConfig.published_5b(),
)
STAR_COGVIDEOX_2B = StarCogVideoXSpec(
    name="star-cogvideox-2b",
    summary="STAR on CogVideoX-2B (1.69 B parameters): nobody has published one, so you train it",
    licence="Apache-2.0",
    parts=_parts("2b", "5b"),
    network=TransformerConfig.published_2b(),
    is_trained=False,
)
