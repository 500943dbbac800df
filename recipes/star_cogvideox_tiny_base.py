"""Write a tiny plain CogVideoX with random weights, where `recipes/star-cogvideox-tiny.toml` starts.

    python recipes/star_cogvideox_tiny_base.py -o runs/star-cogvideox-tiny-base

It is a model folder as diffusers publishes them: transformer, VAE, T5 and its tokenizer. Nothing in it is trained; the
VAE's posterior is so narrow that latents follow from the picture alone, and its scaling factor brings them to unit
variance. It shows that the parts of a training work together; its pictures are not worth looking at.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from transformers import T5Config, T5EncoderModel

LATENTS, TEXT_WIDTH, VOCABULARY = 16, 32, 256
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "num_layers": 3,
    "in_channels": LATENTS,
    "time_embed_dim": 32,
    "text_embed_dim": TEXT_WIDTH,
    "use_rotary_positional_embeddings": True,
}
VAE: dict[str, Any] = {
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "latent_channels": LATENTS,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": TEXT_WIDTH,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
}
NARROW = -20.0
"""Log-variance of the posterior."""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    write_folder(options.output)
    print(options.output)


def write_folder(folder: Path) -> None:
    """Write all parts as the published folders have them."""
    CogVideoXTransformer3DModel(**TRANSFORMER).save_pretrained(folder / "transformer")
    tiny_vae().save_pretrained(folder / "vae")
    T5EncoderModel(T5Config(**T5)).save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "CogVideoXPipeline",
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def tiny_vae() -> AutoencoderKLCogVideoX:
    """Return a VAE whose scaled latents of smooth clips have unit variance."""
    vae = AutoencoderKLCogVideoX(**VAE).eval()
    last = vae.encoder.conv_out.conv
    last.weight[LATENTS:].zero_()
    last.bias[LATENTS:].fill_(NARROW)
    clip = F.interpolate(torch.rand(1, 3, 5, 8, 8) * 2 - 1, (5, 64, 64), mode="trilinear")
    means = vae.encoder(clip)[0][:, :LATENTS]
    last.bias[:LATENTS] -= means.mean((0, 2, 3, 4))
    vae.register_to_config(scaling_factor=round(1 / float(means.std((2, 3, 4)).mean()), 4))
    return vae


def write_tokenizer(folder: Path) -> None:
    """Write a vocabulary of letters and common endings."""
    words = ["a cat walks over green grass", "the sea at night", "sharp video of a street", "people talk and laugh"]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model,
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 226}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    main()
