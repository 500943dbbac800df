"""The sizes of the transformer, from and to diffusers' config.json."""

from __future__ import annotations

import pytest

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.config import TransformerConfig

PUBLISHED = {
    "_class_name": "CogVideoXTransformer3DModel",
    "_diffusers_version": "0.31.0",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 64,
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 32,
    "max_text_seq_length": 226,
    "norm_elementwise_affine": True,
    "norm_eps": 1e-05,
    "num_attention_heads": 48,
    "num_layers": 42,
    "out_channels": 16,
    "patch_size": 2,
    "sample_frames": 49,
    "sample_height": 60,
    "sample_width": 90,
    "spatial_interpolation_scale": 1.875,
    "temporal_compression_ratio": 4,
    "temporal_interpolation_scale": 1,
    "text_embed_dim": 4096,
    "time_embed_dim": 512,
    "timestep_activation_fn": "silu",
    "use_rotary_positional_embeddings": True,
}


def test_a_file_of_diffusers_is_read() -> None:
    assert TransformerConfig.from_json(PUBLISHED) == TransformerConfig.published_5b()
    assert TransformerConfig.published_2b().width == 1920


@pytest.mark.parametrize("config", [TransformerConfig.published_5b(), TransformerConfig.published_2b()])
def test_what_is_written_is_read_again(config: TransformerConfig) -> None:
    assert TransformerConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"in_channels": 16}, "folder of a plain CogVideoX"),
        ({"_class_name": "UNet2DConditionModel"}, "describes a UNet2DConditionModel"),
        ({"patch_size_t": 2}, "patch_size_t is 2"),
        ({"ofs_embed_dim": 512}, "ofs_embed_dim is 512"),
        ({"use_learned_positional_embeddings": True}, "use_learned_positional_embeddings is True"),
        ({"num_layers": "42"}, "num_layers is '42', not of type int"),
        ({"num_layers": True}, "num_layers is True"),
        ({"num_layers": 0}, "must be positive"),
        ({"window": 3}, "unknown here .window."),
    ],
)
def test_another_network_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        TransformerConfig.from_json({**PUBLISHED, **change})
