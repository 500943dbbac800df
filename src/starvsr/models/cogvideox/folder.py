"""A model folder of STAR on CogVideoX: its components, ready to compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.transformer import StarCogVideoX


@dataclass(frozen=True, eq=False)
class Components:
    """What a model consists of.

    Attributes:
        transformer: Predicts the velocity.
        vae: AutoencoderKLCogVideoX; its scaling factor is ``vae.config.scaling_factor``.
        tokenizer: T5 tokenizer.
        text_encoder: T5EncoderModel.
        config: Sizes of the transformer.
    """

    transformer: StarCogVideoX
    vae: Any
    tokenizer: Any
    text_encoder: Any
    config: TransformerConfig


def load_components(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Components:
    """Load all components of a model folder.

    Args:
        folder: A folder with ``transformer``, ``vae``, ``text_encoder`` and ``tokenizer``.
        device: Where they lie afterwards.
        dtype: Number type of the parameters; None keeps the files'.

    Raises:
        OptionError: diffusers or transformers are not installed.
        WeightsError: A part is missing, damaged, or of another model.
    """
    raise NotImplementedError
