"""A file of what was trained of STAR on CogVideoX (LoRA, LIEM, patch embedding, last layers), for a CogVideoX.

It is a tenth of the network. The rest is read from the CogVideoX that the training began with, known by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.lora import merge_lora
from starvsr.models.cogvideox.network import Network
from starvsr.models.cogvideox.start import read_start, start_digest
from starvsr.models.weights import read_metadata, read_tensors

ALPHA_KEY, BASE_KEY, BASE_NAME_KEY = "lora_alpha", "base_sha256", "base"
"""Entries of the file's metadata: strength of LoRA, digest of the CogVideoX it belongs to, and what that was called."""


def is_adapter(path: Path) -> bool:
    """Whether a file is one; damaged files are not."""
    return bool(adapter_metadata(path))


def adapter_metadata(path: Path) -> Mapping[str, str]:
    """Return what a file says of itself; nothing of files of other kinds."""
    try:
        found = read_metadata(path)
    except WeightsError:
        return {}
    return found if ALPHA_KEY in found else {}


def read_adapted(base: Path, adapter: Path, config: TransformerConfig | None = None) -> Network:
    """Read a CogVideoX with what was trained of it, LoRA merged.

    Args:
        base: The CogVideoX, in any form that `read_start` takes.
        adapter: The file of what was trained.
        config: Sizes of a base without a configuration of its own.

    Raises:
        WeightsError: One of them is missing or damaged, or they do not belong together.
    """
    told = adapter_metadata(adapter)
    if not told:
        raise WeightsError(f"{adapter} is no LoRA of STAR on CogVideoX: write one with `starvsr export RUN --lora`")
    found = start_digest(base)
    if told.get(BASE_KEY) not in (None, "", found):
        raise WeightsError(
            f"{adapter} was trained on {told.get(BASE_NAME_KEY) or 'another network'} with SHA-256 {told[BASE_KEY]}, "
            f"and {base} has {found}: give the one that it was trained on"
        )
    network, own = read_start(base, config=config), read_tensors(adapter)
    try:
        alpha = float(told[ALPHA_KEY])
    except ValueError:
        raise WeightsError(f"{adapter} states {ALPHA_KEY} {told[ALPHA_KEY]!r}, no number: get it again") from None
    return Network(network.config, merge_lora({**network.tensors, **own}, alpha, adapter))
