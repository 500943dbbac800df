"""A model folder in the published layout, with tiny networks of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from tests.parity.stablevsr import tiny_networks

DATA = Path(__file__).parents[1] / "parity" / "data" / "stablevsr"


def write_folder(folder: Path) -> Path:
    from transformers import CLIPTextConfig, CLIPTextModel

    meta = json.loads((DATA / "p4_single_frame.json").read_text())
    unet, tcm, vae = tiny_networks(meta)
    torch.manual_seed(0)
    text = CLIPTextModel(CLIPTextConfig(**meta["tiny_config"]["text"]))
    for module, name in ((unet, "unet"), (tcm, "controlnet"), (vae, "vae"), (text, "text_encoder")):
        module.save_pretrained(folder / name)
    shutil.copytree(DATA / "tokenizer", folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(meta["scheduler_config"]))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableVSRPipeline"}))
    return folder


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a model folder that tests share, to be changed: without the notes of digests that loading left there."""
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.sha256"))
