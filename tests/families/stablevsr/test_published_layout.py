"""What must be there is what the published folder has."""

from __future__ import annotations

from starvsr.families.stablevsr.spec import LAYOUT, OPTIONAL

PUBLISHED = {
    "controlnet/config.json",
    "controlnet/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
}


def test_no_file_is_wanted_that_was_not_published() -> None:
    assert {path for name, path in LAYOUT.items() if name not in OPTIONAL} == PUBLISHED
    assert set(OPTIONAL) < set(LAYOUT)
