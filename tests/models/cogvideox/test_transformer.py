"""The transformer beside diffusers' class, to which the gates are added from outside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor

from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.transformer import StarCogVideoX, build_transformer

SMALL = {
    "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "in_channels": 32, "out_channels": 16,
    "time_embed_dim": 12, "text_embed_dim": 24, "max_text_seq_length": 5,
}  # fmt: skip


def network(**changes: Any) -> StarCogVideoX:
    torch.manual_seed(0)
    made = build_transformer(TransformerConfig(**{**SMALL, **changes}), "cpu")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def inputs(frames: int, height: int, width: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    latents = torch.randn(batch, frames, 32, height, width)
    return latents, torch.tensor([731.0, 19.0, 0.0][:batch]), torch.randn(batch, 5, 24)


def gated(tokens: Tensor, block: Any, frames: int, rows: int, columns: int) -> Tensor:
    """The two gates, written with loops over frames."""
    out = []
    for frame in tokens.unflatten(1, (frames, rows, columns)).unbind(1):
        maps = torch.stack([frame.amax(-1), frame.mean(-1)], 1)
        frame = frame * torch.sigmoid(F.conv2d(maps, block.spa_local.conv1.weight, padding=3))[:, 0, :, :, None]
        w0, w1 = block.temp_local.conv1.weight[0]
        out.append(frame * torch.sigmoid(w0 * frame.amax(-1) + w1 * frame.mean(-1))[..., None])
    return torch.stack(out, 1).flatten(1, 3)


@pytest.mark.parametrize("is_rotary", [True, False])
@pytest.mark.parametrize(("frames", "height", "width", "batch"), [(3, 6, 8, 2), (1, 4, 4, 1), (4, 2, 10, 3)])
def test_it_is_diffusers_network_with_gates(is_rotary: bool, frames: int, height: int, width: int, batch: int) -> None:
    ours = network(use_rotary_positional_embeddings=is_rotary)
    stock = CogVideoXTransformer3DModel(
        **SMALL,
        use_rotary_positional_embeddings=is_rotary,
        sample_height=height,
        sample_width=width,
        sample_frames=4 * frames - 3,
    ).eval()
    tensors = ours.state_dict()
    assert stock.load_state_dict({k: v for k, v in tensors.items() if "_local." not in k}).missing_keys == []
    stock.norm_out.norm.eps = 1e-6
    grid = frames, height // 2, width // 2
    for own, block in zip(ours.transformer_blocks, stock.transformer_blocks, strict=True):
        block.norm1.register_forward_hook(lambda _, __, out, own=own: (gated(out[0], own, *grid), *out[1:]))
    rotary = get_3d_rotary_pos_embed(16, ((0, 0), grid[1:]), grid[1:], frames) if is_rotary else None
    latents, timestep, text = inputs(frames, height, width, batch)
    with torch.inference_mode():
        expected = stock(latents, text, timestep, image_rotary_emb=rotary, return_dict=False)[0]
        torch.testing.assert_close(ours(latents, timestep, text), expected, atol=2e-6, rtol=1e-5)


def test_calls_with_other_grids_in_between_change_nothing() -> None:
    for is_rotary in (True, False):
        ours = network(use_rotary_positional_embeddings=is_rotary)
        given, other = inputs(3, 6, 8), inputs(2, 8, 6)
        with torch.inference_mode():
            first = ours(*given)
            ours(*other)
            assert torch.equal(ours(*given), first)


def test_published_sizes() -> None:
    for config, tensors, numbers in (
        (TransformerConfig.published_5b(), 1024 + 84, 5_570_479_680 + 4200),
        (TransformerConfig.published_2b(), 617, 1_693_909_752),
    ):
        named = build_transformer(config).state_dict()
        assert sum(tensor.numel() for tensor in named.values()) == numbers
        if config.use_rotary_positional_embeddings:
            assert len(named) == tensors
            assert named["patch_embed.proj.weight"].shape == (3072, 32, 2, 2)
            assert named["transformer_blocks.41.spa_local.conv1.weight"].shape == (1, 2, 7, 7)
            assert named["transformer_blocks.41.temp_local.conv1.weight"].shape == (1, 2)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 2, 16, 4, 4), r"must be \[B, T, 32, h, w\]"),
        ((1, 2, 32, 5, 4), "multiples of 2"),
        ((2, 32, 4, 4), "must be"),
    ],
)
def test_latents_of_another_form_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        network()(torch.zeros(shape), torch.zeros(1), torch.zeros(1, 5, 24))


def test_checkpointing_changes_no_gradient() -> None:
    ours, given = network(), inputs(2, 4, 4)
    gradients = []
    for ours.gradient_checkpointing in (False, True):
        ours.zero_grad()
        ours(*given).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in ours.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == dict(ours.named_parameters()).keys()
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name])


def test_half_precision_stays_close() -> None:
    ours, given = network(), inputs(3, 6, 8)
    with torch.inference_mode():
        whole = ours(*given)
        half = ours.to(torch.bfloat16)(given[0].bfloat16(), *given[1:])
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).square().mean().sqrt() < 0.03 * whole.std()
