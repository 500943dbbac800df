"""StableVSR as a model folder: its fetched parts in the published layout, which diffusers opens, too."""

from __future__ import annotations

from pathlib import Path

from starvsr.errors import WeightsError
from starvsr.families.stablevsr.configuration import Configuration
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.models.weights.locate import ModelFiles
from starvsr.models.weights.model_folder import FolderPart

_NETWORKS = (
    ("unet", "unet", "UNet2DConditionModel", "UNet of the x4 upscaler"),
    ("tcm", "controlnet", "ControlNetModel", "Temporal Conditioning Module"),
    ("vae", "vae", "AutoencoderKL", "autoencoder that enlarges by 4"),
)


def folder_parts(spec: StableVSRSpec, files: ModelFiles) -> list[FolderPart]:
    """Return the parts of a model folder; all are needed.

    Raises:
        WeightsError: A part is missing or damaged, or is not StableVSR's.
    """
    missing = sorted(spec.layout.keys() - files.keys())
    if missing:
        raise WeightsError(
            f"a model folder of {spec.name} needs all its parts, and there is no {', '.join(missing[:3])}: fetch them "
            f"with `starvsr models fetch {spec.name}`, and give the name {spec.name}"
        )
    Configuration.read(files)
    parts = [
        FolderPart(
            role=role,
            folder=folder,
            made_by=("diffusers", made_by),
            summary=summary,
            source=files[role],
            config=files[f"{role}/config.json"],
            config_summary=f"architecture of the {summary}",
        )
        for role, folder, made_by, summary in _NETWORKS
    ]
    text = FolderPart(
        role="text",
        folder="text_encoder",
        made_by=("transformers", "CLIPTextModel"),
        summary="text tower",
        source=files["text"],
        stem="model",
        config=files["text/config.json"],
        config_summary="architecture of the text tower",
    )
    return [
        *parts,
        text,
        _copies(files, "tokenizer", "tokenizer", ("transformers", "CLIPTokenizer"), "vocabulary and merges"),
        _copies(files, "scheduler", "scheduler", ("diffusers", "DDPMScheduler"), "noise schedule"),
    ]


def _copies(files: ModelFiles, role: str, folder: str, made_by: tuple[str, str], summary: str) -> FolderPart:
    """Return a part of files without tensors."""
    copies: dict[str, tuple[Path, str]] = {
        path.name: (path, summary) for key, path in files.items() if key.startswith(f"{role}/")
    }
    return FolderPart(role=role, folder=folder, made_by=made_by, copies=copies)
