"""A release as CogVideo's SAT code lays it out, with tiny random weights; names are written from the published list."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from tests.parity.cogvideox_networks import ENGINE, fill, sat_shapes
from tests.support.tiny_cogvideox import SIZES as PLAIN_SIZES

SIZES: dict[str, Any] = {**PLAIN_SIZES, "lora_r": 4}
WORDS = ["a cat walks over green grass", "the sea at night", "sharp video of a street", "two people talk and laugh"]


def sat_weights(**changes: Any) -> dict[str, Tensor]:
    """The transformer's tensors by SAT's names, without prefix."""
    return {name: fill(ENGINE + name, shape) for name, shape in sat_shapes({**SIZES, **changes}).items()}


def write_states(folder: Path, tensors: Mapping[str, Tensor], tag: str = "1", **states: Any) -> Path:
    """Write a SAT checkpoint; returns its file of states."""
    (folder / tag).mkdir(parents=True)
    (folder / "latest").write_text(f"{tag}\n")
    path = folder / tag / "mp_rank_00_model_states.pt"
    torch.save({"module": dict(tensors), **states}, path)
    return path


def engine(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a whole engine: prefixed, tables of positions, and other networks beside them."""
    return {
        **{ENGINE + name: tensor for name, tensor in tensors.items()},
        f"{ENGINE}mixins.pos_embed.freqs_sin": torch.zeros(6, 16),
        f"{ENGINE}mixins.pos_embed.freqs_cos": torch.ones(6, 16),
        f"{ENGINE}transformer.position_embeddings.weight": torch.zeros(64, 32),
        "conditioner.embedders.0.transformer.shared.weight": torch.zeros(3),
        "first_stage_model.encoder.conv_in.conv.weight": torch.zeros(3),
    }


def states() -> dict[str, Any]:
    """What DeepSpeed and SAT keep beside the weights."""
    return {
        "random_rng_state": random.getstate(),
        "np_rng_state": np.random.get_state(),
        "torch_rng_state": torch.get_rng_state(),
        "iteration": 15000,
    }


def sat_vae_weights(width: int = 32, levels: int = 4, latent: int = 16) -> dict[str, Tensor]:
    """The VAE's tensors by SAT's names: one resnet a level in the encoder and two in the decoder, all of one width."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def norm(name: str, is_decoder: bool) -> None:
        conv(f"{name}.norm_layer" if is_decoder else name, width)
        for part in ("conv_y", "conv_b") if is_decoder else ():
            conv(f"{name}.{part}.conv", width, latent, 1, 1, 1)

    for side, is_decoder in (("encoder", False), ("decoder", True)):
        conv(f"{side}.conv_in.conv", width, latent if is_decoder else 3, 3, 3, 3)
        resnets = [f"{side}.mid.block_1", f"{side}.mid.block_2"]
        for level in range(levels):
            block = f"{side}.{'up' if is_decoder else 'down'}.{level}"
            resnets += [f"{block}.block.{number}" for number in range(2 if is_decoder else 1)]
            if is_decoder and level > 0:
                conv(f"{block}.upsample.conv", width, width, 3, 3)
            if not is_decoder and level < levels - 1:
                conv(f"{block}.downsample.conv", width, width, 3, 3)
        for resnet in resnets:
            for number in (1, 2):
                norm(f"{resnet}.norm{number}", is_decoder)
                conv(f"{resnet}.conv{number}.conv", width, width, 3, 3, 3)
        norm(f"{side}.norm_out", is_decoder)
        conv(f"{side}.conv_out.conv", 3 if is_decoder else 2 * latent, width, 3, 3, 3)
    return {name: fill(f"first_stage_model.{name}", shape) for name, shape in shapes.items()}


def write_text_encoder(folder: Path) -> None:
    """Write a T5 encoder as wide as the transformer's text, and its tokenizer."""
    torch.manual_seed(3)
    config = T5Config(
        vocab_size=64, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    T5EncoderModel(config).save_pretrained(folder)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS),
        model_writer=model,
        vocab_size=60,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 226}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_release(folder: Path, **changes: Any) -> None:
    """Write everything, as users of CogVideo's SAT code have it on disk."""
    write_states(folder / "transformer", engine(sat_weights(**changes)), **states())
    (folder / "vae").mkdir()
    torch.save({"state_dict": {**sat_vae_weights(), "loss.logvar": torch.zeros(())}}, folder / "vae" / "3d-vae.pt")
    write_text_encoder(folder / "t5-v1_1-xxl")
