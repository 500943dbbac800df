"""Sizes of the transformer of STAR on CogVideoX, under the names that diffusers gives them. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starvsr.errors import WeightsError

CLASS_NAME = "CogVideoXTransformer3DModel"

_FIXED: Mapping[str, Any] = {
    "patch_size_t": None,
    "use_learned_positional_embeddings": False,
    "ofs_embed_dim": None,
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "attention_bias": True,
    "norm_elementwise_affine": True,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "patch_bias": True,
}
"""Settings of the class that this network has in one value only."""

_WITHOUT_EFFECT = frozenset({"dropout", "sample_width", "sample_height", "sample_frames"})
"""Settings of the class that change nothing here: positions follow the grid of the call."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the network.

    Args:
        num_attention_heads: Heads of each attention.
        attention_head_dim: Channels of a head; tokens have as many channels as all heads together.
        num_layers: Number of blocks.
        in_channels: Channels of the input: noisy latents, then those of the low-quality clip.
        out_channels: Channels of the prediction.
        time_embed_dim: Channels of the timestep embedding.
        text_embed_dim: Channels of the encoded prompt.
        patch_size: Latent cells along each side of a token.
        max_text_seq_length: Tokens of the encoded prompt.
        norm_eps: Epsilon of the LayerNorms of blocks and of the one after the last block.
        use_rotary_positional_embeddings: Rotary positions in attention (5B); False adds sin-cos positions to the
            tokens (2B).
        spatial_interpolation_scale: Divides the spatial sin-cos positions.
        temporal_interpolation_scale: Divides the temporal sin-cos positions.
        temporal_compression_ratio: Frames per latent frame.
    """

    num_attention_heads: int = 48
    attention_head_dim: int = 64
    num_layers: int = 42
    in_channels: int = 32
    out_channels: int = 16
    time_embed_dim: int = 512
    text_embed_dim: int = 4096
    patch_size: int = 2
    max_text_seq_length: int = 226
    norm_eps: float = 1e-5
    use_rotary_positional_embeddings: bool = True
    spatial_interpolation_scale: float = 1.875
    temporal_interpolation_scale: float = 1.0
    temporal_compression_ratio: int = 4

    @classmethod
    def published_5b(cls) -> TransformerConfig:
        """Return the sizes of CogVideoX-5B with the low-quality latents as further channels."""
        return cls()

    @classmethod
    def published_2b(cls) -> TransformerConfig:
        """Return the sizes of CogVideoX-2B with the low-quality latents as further channels."""
        return cls(num_attention_heads=30, num_layers=30, use_rotary_positional_embeddings=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: object = "config.json") -> TransformerConfig:
        """Read the content of a ``config.json`` as diffusers writes it.

        Args:
            values: The content.
            where: The file, for messages.

        Raises:
            WeightsError: It describes another network.
        """
        name = values.get("_class_name", CLASS_NAME)
        if name != CLASS_NAME:
            raise WeightsError(f"{where} describes a {name}, not a {CLASS_NAME}: give a folder of STAR on CogVideoX")
        given = {key: value for key, value in values.items() if not key.startswith("_")}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        known = fields.keys() | _FIXED.keys() | _WITHOUT_EFFECT
        if unknown := sorted(given.keys() - known):
            raise WeightsError(f"{where} has settings unknown here ({', '.join(unknown)}): use a newer starvsr")
        for key, only in _FIXED.items():
            if given.get(key, only) != only:
                raise WeightsError(f"{where}: {key} is {given[key]!r}, but STAR on CogVideoX has {only!r}")
        sizes: dict[str, Any] = {}
        for key in fields.keys() & given.keys():
            value: Any = given[key]
            wanted: Any = type(fields[key].default)
            if wanted is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise WeightsError(f"{where}: {key} is {value!r}, not of type {wanted.__name__}; get the file again")
            if not isinstance(value, bool) and value <= 0:
                raise WeightsError(f"{where}: {key} is {value!r}, which must be positive; get the file again")
            sizes[key] = value
        config = cls(**sizes)
        if config.in_channels != 2 * config.out_channels:
            raise WeightsError(
                f"{where}: {config.in_channels} channels in and {config.out_channels} out: STAR on CogVideoX reads the "
                "low-quality latents beside the noisy ones, so twice as many go in; this is the folder of a plain "
                "CogVideoX"
            )
        return config

    def to_json(self) -> dict[str, Any]:
        """Return the content of a ``config.json`` that diffusers opens, too."""
        return {"_class_name": CLASS_NAME, **_FIXED, **dataclasses.asdict(self)}

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.num_attention_heads * self.attention_head_dim
