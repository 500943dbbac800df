"""StableVSR as a model folder: its fetched parts in the published layout, which diffusers opens, too."""

from __future__ import annotations

from pathlib import Path

from starvsr.errors import WeightsError
from starvsr.families.stablevsr.configuration import Configuration
from starvsr.families.stablevsr.guidance_decoder import CLASS_NAME, CONFIG, FOLDER, TENSORS, describe_decoder
from starvsr.families.stablevsr.spec import OPTIONAL, StableVSRSpec
from starvsr.models.weights.locate import ModelFiles
from starvsr.models.weights.model_folder import FolderPart

_NETWORKS = (
    ("unet", "unet", "UNet2DConditionModel", "UNet of the x4 upscaler"),
    ("tcm", "controlnet", "ControlNetModel", "Temporal Conditioning Module"),
    ("vae", "vae", "AutoencoderKL", "autoencoder that enlarges by 4"),
)


def folder_parts(spec: StableVSRSpec, files: ModelFiles) -> list[FolderPart]:
    """Return the parts of a model folder; all are needed but a small decoder for the guidance.

    Raises:
        WeightsError: A part is missing or damaged, or is not StableVSR's.
    """
    missing = sorted(spec.layout.keys() - files.keys() - set(OPTIONAL))
    if missing:
        raise WeightsError(
            f"a model folder of {spec.name} needs all its parts, and there is no {', '.join(missing[:3])}: fetch them "
            f"with `starvsr models fetch {spec.name}`, and give the name {spec.name}"
        )
    configuration = Configuration.read(files)
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
        *_guidance_decoder(files, configuration),
    ]


def _guidance_decoder(files: ModelFiles, configuration: Configuration) -> list[FolderPart]:
    """Return the small decoder that a folder has; none where there is none.

    Raises:
        WeightsError: It lacks a file, or is for another autoencoder.
    """
    found = [key for key in OPTIONAL if key in files]
    if not found:
        return []
    if len(found) < len(OPTIONAL):
        raise WeightsError(
            f"{files[found[0]].parent} holds {files[found[0]].name} alone, and a decoder for the guidance has {CONFIG} "
            f"and {TENSORS}: export it again, or remove that folder"
        )
    describe_decoder(files, configuration.vae)
    return [
        FolderPart(
            role=FOLDER,
            folder=FOLDER,
            made_by=("starvsr", CLASS_NAME),
            summary="small decoder for the guidance",
            source=files[FOLDER],
            config=files[f"{FOLDER}/{CONFIG}"],
            config_summary="sizes of the small decoder, and which autoencoder it was trained beside",
        )
    ]


def _copies(files: ModelFiles, role: str, folder: str, made_by: tuple[str, str], summary: str) -> FolderPart:
    """Return a part of files without tensors."""
    copies: dict[str, tuple[Path, str]] = {
        path.name: (path, summary) for key, path in files.items() if key.startswith(f"{role}/")
    }
    return FolderPart(role=role, folder=folder, made_by=made_by, copies=copies)
